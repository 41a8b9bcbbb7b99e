"""Events and their fan-out, written together; and the feeds that lose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text

from service.core.events import Event
from service.store.database import Transaction
from service.store.outgoing import events
from service.store.rows import from_rows, rows

_COLUMNS = {
    "id": "text",
    "subject_id": "text",
    "account_id": "text",
    "sequence": "int",
    "type": "text",
    "created_at": "timestamptz",
    "stem": "text",
}
# Events, and a delivery for each subscriber that wants them. A delivery behind an unfinished one of
# the same subject has no due time yet: what ends before it sets it.
WRITE = f"""
    new AS (
        SELECT * FROM {from_rows("new_events", _COLUMNS, beside="event_bodies")}
    ), written AS (
        INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
        SELECT id, subject_id, account_id, sequence, type, bytes, created_at
        FROM new ORDER BY subject_id, sequence
    ), heard AS (  -- kept from being disabled or removed until the deliveries are written
        SELECT s.id, s.account_id, s.event_types FROM subscribers s
        WHERE s.account_id IN (SELECT account_id FROM new) AND s.state <> 'disabled'
        ORDER BY s.id FOR SHARE
    ), told AS (
        INSERT INTO deliveries
            (id, event_id, subscriber_id, subject_id, sequence, state, due_at, created_at)
        SELECT
            n.stem || '_' || row_number() OVER (PARTITION BY n.id ORDER BY s.id),
            n.id, s.id, n.subject_id, n.sequence, 'pending',
            CASE WHEN
                row_number() OVER (PARTITION BY s.id, n.subject_id ORDER BY n.sequence) > 1
                OR (  -- its order is that of the one index that leads there directly
                    SELECT d.id FROM deliveries d
                    WHERE d.subscriber_id = s.id AND d.subject_id = n.subject_id
                    AND d.state = 'pending'
                    ORDER BY d.sequence LIMIT 1
                ) IS NOT NULL
            THEN NULL ELSE n.created_at END,
            n.created_at
        FROM new n JOIN heard s ON s.account_id = n.account_id
        WHERE s.event_types IS NULL OR n.type = ANY (s.event_types)
        RETURNING id
    )
"""  # noqa: S608 - only our own column names are put in
_APPEND = text(f"WITH {WRITE} SELECT count(*) FROM told")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class New:
    """An event to write; `stem` begins the ids of its deliveries."""

    event: Event
    stem: str


def written(new: Sequence[New]) -> dict[str, Any]:
    """The parameters of WRITE."""
    events = [
        {
            "id": one.event.id,
            "subject_id": one.event.subject_id,
            "account_id": one.event.account_id,
            "sequence": one.event.sequence,
            "type": one.event.type,
            "created_at": one.event.created_at,
            "stem": one.stem,
        }
        for one in new
    ]
    return {"new_events": rows(events), "event_bodies": [one.event.body for one in new]}


async def append(tx: Transaction, new: Sequence[New]) -> int:
    """Write events and their deliveries; how many deliveries. The caller made the subjects in
    this very transaction: for moves of older ones see `moves.py`."""
    return int((await tx.execute(_APPEND, written(new))).scalar_one())


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
