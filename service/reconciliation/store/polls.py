"""Polling: about which subjects the provider is asked, when, and at what rate."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text, update

from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.schema.provider import provider_state
from service.subjects.domain.signal_record import SignalRecord
from service.subjects.domain.subject import Subject
from service.subjects.domain.work import Work
from service.subjects.store.signals import APPENDED, signal_value
from service.subjects.store.subjects import COLUMN_NAMES, subject_of
from service.subjects.store.work import notify_sql

_COUNT_DUE = text(f"""
    SELECT (
        SELECT count(*) FROM (
            SELECT 1 FROM subjects WHERE next_poll_at <= :now AND {AT_HOME} LIMIT :limit
        ) due
    ), poll_rate_used_until
    FROM provider_state
""")  # noqa: S608 - only our own words are put in
_LOCK_RATE = select(provider_state.c.poll_rate_used_until).with_for_update()
_CLAIM = text(f"""
    WITH due AS (
        SELECT id FROM subjects WHERE next_poll_at <= :now AND {AT_HOME}
        ORDER BY next_poll_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE subjects SET next_poll_at = :hold_until, poll_count = poll_count + 1
    WHERE id IN (SELECT id FROM due)
    RETURNING {COLUMN_NAMES}
""")  # noqa: S608 - only our own column names are put in
_RESCHEDULE = text(f"""
    UPDATE subjects SET next_poll_at = :at, signals = {APPENDED}
    WHERE id = :id AND next_poll_at = :held
""")  # noqa: S608 - likewise
# IS TRUE keeps Postgres from using the index of all scheduled polls: a few ids are found faster by
# their key.
_SCHEDULE = text(f"""
    WITH scheduled AS (
        UPDATE subjects SET next_poll_at = :at
        WHERE id = ANY (CAST(:ids AS text[])) AND (next_poll_at > :at) IS TRUE
        RETURNING id
    )
    SELECT {notify_sql(Work.RECONCILE)} FROM scheduled LIMIT 1
""")  # noqa: S608 - only our own names are put in


async def count_due(
    tx: Connection, fence: Fence, now: datetime, limit: int
) -> tuple[int, datetime | None]:
    """How many polls are due inside the fence, counted up to `limit`; and RateLimit.used_until of
    the polls made so far."""
    values = {"now": now, "limit": limit, **fence.values()}
    due, used_until = await tx.first(_COUNT_DUE, values)
    return due, used_until


async def lock_rate(tx: Connection) -> datetime | None:
    """RateLimit.used_until of the polls, which nobody else changes until this transaction ends."""
    used_until: datetime | None = await tx.scalar(_LOCK_RATE)
    return used_until


async def spend_rate(tx: Connection, used_until: datetime) -> None:
    """Write RateLimit.used_until of the polls; the caller has locked it."""
    await tx.execute(update(provider_state).values(poll_rate_used_until=used_until))


async def claim(
    tx: Connection, fence: Fence, *, now: datetime, hold_until: datetime, limit: int
) -> list[Subject]:
    """Claim at most `limit` due polls, the longest overdue first; none outside the fence. Nobody
    else polls for these subjects until `hold_until`, unless a poll is scheduled for sooner."""
    values = {"now": now, "hold_until": hold_until, "limit": limit, **fence.values()}
    return [subject_of(row) for row in await tx.execute(_CLAIM, values)]


async def reschedule(tx: Connection, claimed: Subject, at: datetime, record: SignalRecord) -> None:
    """Poll for a claimed subject again at `at`, unless somebody has scheduled a poll meanwhile, and
    keep what this one brought with the subject."""
    values = {
        "id": claimed.id,
        "held": claimed.next_poll_at,
        "at": at,
        "signal": signal_value(record),
    }
    await tx.execute(_RESCHEDULE, values)


async def schedule(tx: Connection, subject_ids: Sequence[str], at: datetime) -> None:
    """Poll for these subjects at `at` if a later poll is scheduled for them; those that wait for
    none, or for a sooner one, are left as they are. Workers are notified."""
    if subject_ids:
        await tx.execute(_SCHEDULE, {"ids": subject_ids, "at": at})
