"""Events and their fan-out, written together; and the feeds that lose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text

from service.core.events import Event
from service.store.database import Transaction
from service.store.tables import events

# One statement writes the events and a delivery for each subscriber that wants them. A delivery
# behind an unfinished one of the same subject has no due time yet: what ends before it sets it.
_APPEND = text("""
    WITH new AS (
        SELECT * FROM unnest(
            CAST(:ids AS text[]), CAST(:subject_ids AS text[]), CAST(:account_ids AS text[]),
            CAST(:sequences AS int[]), CAST(:types AS text[]), CAST(:bodies AS bytea[]),
            CAST(:times AS timestamptz[]), CAST(:stems AS text[])
        ) AS n (id, subject_id, account_id, sequence, type, body, created_at, stem)
    ), written AS (
        INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
        SELECT id, subject_id, account_id, sequence, type, body, created_at
        FROM new ORDER BY subject_id, sequence
    )
    INSERT INTO deliveries
        (id, event_id, subscriber_id, subject_id, sequence, state, due_at, created_at)
    SELECT
        n.stem || '_' || row_number() OVER (PARTITION BY n.id ORDER BY s.id),
        n.id, s.id, n.subject_id, n.sequence, 'pending',
        CASE WHEN
            row_number() OVER (PARTITION BY s.id, n.subject_id ORDER BY n.sequence) > 1
            OR EXISTS (
                SELECT FROM deliveries d
                WHERE d.subscriber_id = s.id AND d.subject_id = n.subject_id
                AND d.state = 'pending'
            )
        THEN NULL ELSE n.created_at END,
        n.created_at
    FROM new n JOIN subscribers s ON s.account_id = n.account_id
    WHERE s.state <> 'disabled' AND (s.event_types IS NULL OR n.type = ANY (s.event_types))
    RETURNING id
""")


async def append(tx: Transaction, new: Sequence[tuple[Event, str]]) -> int:
    """Write events and their deliveries; how many deliveries. Each event comes with the stem of
    its deliveries' ids. The caller holds the locks of the events' subjects."""
    if not new:
        return 0
    written = [event for event, _ in new]
    values = {
        "ids": [event.id for event in written],
        "subject_ids": [event.subject_id for event in written],
        "account_ids": [event.account_id for event in written],
        "sequences": [event.sequence for event in written],
        "types": [event.type for event in written],
        "bodies": [event.body for event in written],
        "times": [event.created_at for event in written],
        "stems": [stem for _, stem in new],
    }
    return len((await tx.execute(_APPEND, values)).all())


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader of an account's feed is: after this transaction's row at this position."""

    xid: int
    position: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An event as it was kept, with its place in the feed."""

    id: str
    type: str
    sequence: int
    body: bytes
    created_at: datetime
    place: Position


_FEED = text("""
    SELECT id, type, sequence, body, created_at, CAST(CAST(xid AS text) AS bigint), position
    FROM events
    WHERE account_id = :account_id
    AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
    AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, position LIMIT :limit
""")


async def feed(tx: Transaction, account_id: str, after: Position, limit: int) -> list[Kept]:
    """An account's events after a place, oldest first.

    Positions are taken before they are committed, so ordering by them alone would skip what
    commits late. Rows are ordered by their transaction, and only those are shown below which no
    transaction is still open: nothing can appear there any more.
    """
    values = {
        "account_id": account_id,
        "xid": str(after.xid),
        "position": after.position,
        "limit": limit,
    }
    return [_kept(row) for row in await tx.execute(_FEED, values)]


async def of_subject(tx: Transaction, subject_id: str, after: int, limit: int) -> list[Kept]:
    """A subject's events above a sequence, in sequence: its row lock orders their commits."""
    statement = (
        select(
            events.c.id,
            events.c.type,
            events.c.sequence,
            events.c.body,
            events.c.created_at,
            text("0"),
            events.c.position,
        )
        .where(events.c.subject_id == subject_id, events.c.sequence > after)
        .order_by(events.c.sequence)
        .limit(limit)
    )
    return [_kept(row) for row in await tx.execute(statement)]


def _kept(row: Row[*tuple[Any, ...]]) -> Kept:
    id_, type_, sequence, body, created_at, xid, position = row
    return Kept(id_, type_, sequence, body, created_at, Position(xid, position))
