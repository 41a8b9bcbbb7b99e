"""Usage, read: the sums of days, and the requests that were refused."""

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

from msgspec import Struct
from sqlalchemy import TextClause, text

from service.kit.database.connection import Connection
from service.usage.domain.usage import Outcome
from service.usage.store.day_table import ACCOUNT, ENDED, SUMS


class UsageRow(Struct, frozen=True):
    """Requests of one account that came to the same end on one day."""

    day: date  # in UTC, of their end
    account_id: str  # whose they are
    reference_type: str  # VIDEO or IMAGE; empty: what was refused named neither
    outcome: Outcome
    count: int  # how many
    units: Decimal  # that the provider deducted for them, as far as it said
    units_unknown: int  # of `count`: those that it had, and did not say of
    creates_saved: int  # creates that were not sent, as a look-up or a callback knew the task


def _read(of_account: str, of_subject: str) -> TextClause:
    """`of_account` is a condition on the column account_id, and so is `of_subject`, which is not
    served by an index: none has an account's subjects by their ends. One statement, and so one view
    of the tables: what is pruned meanwhile is counted once. Each day is read by itself."""
    return text(f"""
        WITH days AS MATERIALIZED (
            SELECT d.day, r.day IS NOT NULL AS reckoned
            FROM (
                SELECT CAST(generate_series(
                    CAST(:first AS date), CAST(:end AS date) - 1, interval '1 day'
                ) AS date) AS day
            ) d
            LEFT JOIN LATERAL (
                SELECT day FROM usage_reckonings WHERE day = d.day LIMIT 1
            ) r ON true
        ), parts AS (
            SELECT u.* FROM days CROSS JOIN LATERAL (
                SELECT day, account_id, reference_type, outcome, count, units, units_unknown,
                    creates_saved
                FROM usage_days WHERE day = days.day AND {of_account}
                AND (pruned OR days.reckoned)
            ) u
            UNION ALL
            SELECT days.day, kept.* FROM days CROSS JOIN LATERAL (
                SELECT {SUMS} FROM subjects s
                WHERE NOT days.reckoned AND {ENDED} AND {of_subject}
                AND s.finished_at >= CAST(days.day AS timestamp) AT TIME ZONE 'UTC'
                AND s.finished_at < CAST(days.day + 1 AS timestamp) AT TIME ZONE 'UTC'
                GROUP BY 1, 2, 3
            ) kept
            UNION ALL
            SELECT refused.* FROM days CROSS JOIN LATERAL (
                SELECT day, account_id, reference_type, 'refused', count, 0, 0, 0
                FROM refusals WHERE day = days.day AND {of_account}
            ) refused
        )
        SELECT day, account_id, reference_type, outcome, CAST(sum(count) AS bigint),
            sum(units), CAST(sum(units_unknown) AS bigint), CAST(sum(creates_saved) AS bigint)
        FROM parts GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT :most
    """)  # noqa: S608 - only our own words are put in


_READ_ACCOUNT = _read("account_id = :account_id", f"{ACCOUNT} = :account_id")
_READ_ALL = _read("true", "true")
_ADD_REFUSALS = text("""
    INSERT INTO refusals AS r (day, account_id, reference_type, count)
    SELECT day, account_id, reference_type, count
    FROM unnest(
        CAST(:days AS date[]), CAST(:accounts AS text[]), CAST(:types AS text[]),
        CAST(:counts AS bigint[])
    ) AS added (day, account_id, reference_type, count)
    ORDER BY 1, 2, 3
    ON CONFLICT (day, account_id, reference_type) DO UPDATE SET count = r.count + excluded.count
""")

Refusals = dict[tuple[date, str, str], int]  # how many, by day, account id and reference type


async def read(
    tx: Connection, first: date, end: date, account_id: str | None, most: int
) -> list[UsageRow]:
    """The usage of the days from `first` to the one before `end`, of one account or, if None, of
    all: at most so many rows, the oldest days first."""
    values: dict[str, object] = {"first": first, "end": end, "most": most}
    if account_id is None:
        rows = await tx.execute(_READ_ALL, values)
    else:
        rows = await tx.execute(_READ_ACCOUNT, values | {"account_id": account_id})
    return list(_rows(rows))


def _rows(rows: Sequence[Sequence[object]]) -> Iterator[UsageRow]:
    for day, account_id, reference_type, outcome, *sums in rows:
        yield UsageRow(day, account_id, reference_type, Outcome(outcome), *sums)  # type: ignore[arg-type] # as the statement has them


async def add_refusals(tx: Connection, refusals: Refusals) -> None:
    """Count requests that were refused."""
    keys = list(refusals)
    values = {
        "days": [day for day, _, _ in keys],
        "accounts": [account for _, account, _ in keys],
        "types": [kind for _, _, kind in keys],
        "counts": list(refusals.values()),
    }
    await tx.execute(_ADD_REFUSALS, values)
