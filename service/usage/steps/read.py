"""Reading usage: of one account or of all, for some days."""

from dataclasses import dataclass
from datetime import date, datetime

from service.accounts.store import owners
from service.kit.errors import FieldError, Invalid
from service.resources import Resources
from service.usage.domain.report import UsageLine, UsageTotals, totals_of
from service.usage.domain.window import Window
from service.usage.steps import refusals
from service.usage.store import usage

MAX_ROWS = 20_000  # of one answer


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What usage there was in a window."""

    first: date  # in UTC
    end: date  # the day after the last
    as_of: datetime  # when it was read: later ends of subjects are not in it
    lines: list[UsageLine]
    totals: UsageTotals


async def read(resources: Resources, window: Window, account_id: str | None) -> UsageReport:
    """The usage of one account or, if None, of all. Invalid if it has more than MAX_ROWS lines: it
    is never cut short.

    Refusals that other processes have counted in the last seconds are not in it yet.
    """
    await refusals.store(resources)
    first, end = window
    as_of = resources.clock()
    async with resources.database.autocommit() as tx:
        rows = await usage.read(tx, first, end, account_id, MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            rule = f"from is too long ago: at most {MAX_ROWS} rows are answered; name an account"
            raise Invalid([FieldError("/from", "query", rule)])
        names = await owners.account_names(tx, {row.account_id for row in rows})
    lines = [
        UsageLine(
            day=row.day,
            account=names[row.account_id],
            reference_type=row.reference_type or None,
            outcome=row.outcome,
            count=row.count,
            units=row.units,
            units_unknown=row.units_unknown,
            creates_saved=row.creates_saved,
        )
        for row in rows
    ]
    lines.sort(key=lambda line: (line.day, line.account, line.reference_type or "", line.outcome))
    return UsageReport(first, end, as_of, lines, totals_of(lines))
