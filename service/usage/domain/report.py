"""Usage as it is shown: lines, totals, and both as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Context, Decimal, localcontext
from typing import Any

from msgspec import Struct

from service.usage.domain.usage import Outcome

EXACT = Context(prec=100)  # digits: no sum of numbers that Postgres holds here has more
RUN_BY_SPREADSHEETS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
)  # what a cell that they run begins with


class UsageTotals(Struct, frozen=True):
    """Sums."""

    count: int  # requests that came to an end
    units: Decimal  # that the provider deducted for them, as far as it said
    units_unknown: int  # of `count`: those that the provider had, and did not say of
    creates_saved: int  # creates that were not sent again, as the task was found to be there


class UsageLine(Struct, frozen=True):
    """The requests of one account that came to the same end on one day."""

    day: date  # in UTC
    account: str  # its name
    reference_type: str | None  # None: what was refused named none that there is
    outcome: Outcome
    count: int  # as in UsageTotals, as are the following
    units: Decimal
    units_unknown: int
    creates_saved: int


def totals_of(lines: Sequence[UsageLine]) -> UsageTotals:
    """The sums of lines, exactly."""
    with localcontext(EXACT):
        return UsageTotals(
            count=sum(line.count for line in lines),
            units=sum((line.units for line in lines), Decimal()),
            units_unknown=sum(line.units_unknown for line in lines),
            creates_saved=sum(line.creates_saved for line in lines),
        )


def exact_text(units: Decimal) -> str:
    """A number of units with all its digits, and no zeros that say nothing: 12.5, 0."""
    text = f"{units:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def line_document(line: UsageLine, *, with_account: bool) -> dict[str, Any]:
    """A line as JSON, or as the cells of a CSV row."""
    return {
        "day": line.day.isoformat(),
        **({"account": line.account} if with_account else {}),
        "reference_type": line.reference_type,
        "outcome": line.outcome.value,
        **totals_document(line),
    }


def totals_document(totals: UsageTotals | UsageLine) -> dict[str, Any]:
    """Sums as JSON; units as a text, which nobody rounds."""
    return {
        "count": totals.count,
        "units": exact_text(totals.units),
        "units_unknown": totals.units_unknown,
        "creates_saved": totals.creates_saved,
    }


def usage_text(lines: Iterable[UsageLine], totals: UsageTotals) -> list[str]:
    """Lines for people, and one of the sums."""
    return [
        *(
            f"{line.day} {line.account} {line.reference_type or '-'} {line.outcome}: {_sums(line)}"
            for line in lines
        ),
        f"all: {_sums(totals)}",
    ]


def _sums(totals: UsageTotals | UsageLine) -> str:
    unknown = f", {totals.units_unknown} of unknown cost" if totals.units_unknown else ""
    saved = f", {totals.creates_saved} creates saved" if totals.creates_saved else ""
    return f"{totals.count}, {exact_text(totals.units)} units{unknown}{saved}"


def as_csv(lines: Iterable[UsageLine], *, with_account: bool) -> str:
    """Lines as CSV (RFC 4180), with a header. A cell that a spreadsheet would run begins with
    `'`."""
    columns = [name for name in UsageLine.__struct_fields__ if with_account or name != "account"]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\r\n")
    writer.writeheader()
    for line in lines:
        writer.writerow(_cells(line_document(line, with_account=with_account)))
    return out.getvalue()


def _cells(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"'{value}"
        if isinstance(value, str) and value.startswith(RUN_BY_SPREADSHEETS)
        else value
        for name, value in document.items()
    }
