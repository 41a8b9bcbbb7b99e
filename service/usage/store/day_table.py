"""The day table: what is pruned is summed up for good, and days that are over are summed up once.

A day's usage is the sums of its pruned subjects and of those that are kept. The first are added up
by the transaction that prunes them; so whoever ends late, by whatever clock, is counted too. The
second are reckoned from the rows, and kept here for days that are over: pruning one of a day's
subjects drops them, and the day is reckoned anew.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.schema.base import one_of
from service.subjects.domain.lifecycle import TERMINAL

# As an expression no index has it: one that begins with the account would look good while the table
# is small, and then all that there is would be read.
ACCOUNT = "s.account_id || ''"
# Media are found bad before the provider is asked: what fails by them was refused.
SUMS = f"""
    {ACCOUNT} AS account_id,
    coalesce(s.document ->> 'reference_type', '') AS reference_type,
    CASE WHEN s.state = 'failed' AND s.error ->> 'code' LIKE 'media\\_%' THEN 'refused'
        ELSE s.state END AS outcome,
    count(*) AS count,
    coalesce(sum(s.units), 0) AS units,
    count(*) FILTER (WHERE s.units IS NULL AND s.provider_task_id IS NOT NULL) AS units_unknown,
    sum(s.creates_saved) AS creates_saved
"""
ENDED = f"s.state IN ({one_of(TERMINAL)})"  # as ix_subjects_finished is read by
_COLUMNS = """
    (day, account_id, reference_type, outcome, pruned, count, units, units_unknown, creates_saved)
"""
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('usage days', 0))")
_FOLD = text(f"""
    WITH added AS (
        INSERT INTO usage_days AS d {_COLUMNS}
        SELECT day, account_id, reference_type, outcome, true, count, units, units_unknown,
            creates_saved
        FROM (
            SELECT CAST(s.finished_at AT TIME ZONE 'UTC' AS date) AS day, {SUMS}
            FROM subjects s WHERE s.id = ANY (CAST(:ids AS text[])) AND {ENDED}
            GROUP BY 1, 2, 3, 4
        ) sums
        ON CONFLICT (day, account_id, reference_type, outcome, pruned) DO UPDATE SET
            count = d.count + excluded.count,
            units = d.units + excluded.units,
            units_unknown = d.units_unknown + excluded.units_unknown,
            creates_saved = d.creates_saved + excluded.creates_saved
        RETURNING day
    )
    DELETE FROM usage_reckonings WHERE day = ANY (ARRAY(SELECT day FROM added))
""")  # noqa: S608 - only our own words are put in
# The oldest day that is over and not reckoned, or was reckoned too early for clocks that are late.
_DUE = text("""
    WITH first AS (
        SELECT min(finished_at) AS at FROM unnest(CAST(:states AS text[])) ended (state)
        CROSS JOIN LATERAL (
            SELECT s.finished_at FROM subjects s
            WHERE s.state = ended.state AND s.finished_at IS NOT NULL
            ORDER BY s.finished_at LIMIT 1
        ) oldest
    )
    SELECT CAST(days.day AS date) FROM first
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', first.at AT TIME ZONE 'UTC'), CAST(:over AS date), interval '1 day'
    ) AS days (day)
    LEFT JOIN usage_reckonings r ON r.day = CAST(days.day AS date)
    WHERE r.day IS NULL OR (
        r.day <= :settled
        AND r.reckoned_at < (r.day + 1) AT TIME ZONE 'UTC' + CAST(:settled_after AS interval)
    )
    ORDER BY 1 LIMIT 1
""")
_FORGET = text("DELETE FROM usage_days WHERE day = :day AND NOT pruned")
_RECKON = text(f"""
    WITH kept AS (
        INSERT INTO usage_days {_COLUMNS}
        SELECT :day, account_id, reference_type, outcome, false, count, units, units_unknown,
            creates_saved
        FROM (
            SELECT {SUMS} FROM subjects s
            WHERE {ENDED} AND s.finished_at >= :start AND s.finished_at < :end
            GROUP BY 1, 2, 3
        ) sums
    )
    INSERT INTO usage_reckonings (day, reckoned_at) VALUES (:day, :now)
    ON CONFLICT (day) DO UPDATE SET reckoned_at = excluded.reckoned_at
""")  # noqa: S608 - likewise

RECKONED_AFTER = timedelta(hours=1)  # from a day's end: for clocks that are late
SETTLED_AFTER = timedelta(days=7)  # from a day's end: then it is reckoned once more


async def fold(tx: Connection, subject_ids: Sequence[str]) -> None:
    """Add these subjects to the sums of pruned ones, in the transaction that deletes them, before
    it does; what has not ended is left aside. Until the end of the transaction no day is reckoned
    and nobody else folds."""
    await tx.execute(_LOCK)
    await tx.execute(_FOLD, {"ids": subject_ids})


async def reckon_next(tx: Connection, now: datetime) -> date | None:
    """Sum up the kept subjects of the oldest day for which that is due, in the caller's
    transaction; that day, or None if there is none."""
    await tx.execute(_LOCK)
    settled_at = now - SETTLED_AFTER
    over, settled = (_last_day_over(at) for at in (now - RECKONED_AFTER, settled_at))
    values = {
        "states": sorted(TERMINAL),
        "over": over,
        "settled": settled,
        "settled_after": SETTLED_AFTER,
    }
    day: date | None = await tx.scalar(_DUE, values)
    if day is not None:
        start = datetime.combine(day, time(), UTC)
        await tx.execute(_FORGET, {"day": day})
        await tx.execute(
            _RECKON, {"day": day, "start": start, "end": start + timedelta(days=1), "now": now}
        )
    return day


def _last_day_over(at: datetime) -> date:
    return at.astimezone(UTC).date() - timedelta(days=1)
