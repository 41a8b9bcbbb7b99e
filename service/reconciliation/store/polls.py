"""Subjects: read, locked and claimed. How they are made is in insert.py, how they move in
moves.py."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.subjects.domain.subject import Subject
from service.subjects.store.subjects import COLUMNS, subject_of

_CLAIM_POLLS = text(f"""
    WITH due AS (
        SELECT id FROM subjects WHERE next_poll_at <= :now
        ORDER BY next_poll_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE subjects SET next_poll_at = :hold_until, poll_count = poll_count + 1
    WHERE id IN (SELECT id FROM due)
    RETURNING {", ".join(column.name for column in COLUMNS)}
""")  # noqa: S608 - only our own column names are put in
_RESCHEDULE = text("UPDATE subjects SET next_poll_at = :at WHERE id = :id AND next_poll_at = :held")
# IS TRUE keeps the index of all who wait out of it: a few ids are found by themselves.
_SCHEDULE = text("""
    UPDATE subjects SET next_poll_at = :at
    WHERE id = ANY (CAST(:ids AS text[])) AND (next_poll_at > :at) IS TRUE
""")


async def claim_polls(
    tx: Connection, *, now: datetime, hold_until: datetime, limit: int
) -> list[Subject]:
    """Subjects nobody called back about in time, the longest overdue first. Nobody else asks for
    them until `hold_until`, unless there is a hint."""
    values = {"now": now, "hold_until": hold_until, "limit": limit}
    return [subject_of(row) for row in await tx.execute(_CLAIM_POLLS, values)]


async def reschedule_poll(tx: Connection, held: Subject, at: datetime) -> None:
    """Ask for this claimed one again, unless somebody wants it asked for sooner."""
    await tx.execute(_RESCHEDULE, {"id": held.id, "held": held.next_poll_at, "at": at})


async def schedule_poll(tx: Connection, subject_ids: Sequence[str], at: datetime) -> None:
    """Ask for these by then, as far as they wait to be asked for; one that is due before keeps its
    place among those that wait."""
    if subject_ids:
        await tx.execute(_SCHEDULE, {"ids": subject_ids, "at": at})
