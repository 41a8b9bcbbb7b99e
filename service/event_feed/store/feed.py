"""Event feeds of an account, of a subject, of every account: read so that no event is lost or
seen twice.

A row gets its position before it is committed, so a reader that went by positions alone would miss
what commits late. So rows are ordered by their transaction id, then by position; and a row is
shown only once no transaction with a lower id, or its own, is open: nothing can appear before it
any more. An event that was erased has no body, and is in no feed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, text

from service.kit.database.connection import Connection, Row
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.events import events


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a feed: a reader has taken all events up to it."""

    xid: int  # the transaction id of an event in an account's feed; 0 in a subject's feed
    number: int  # events.position in an account's feed; the event's sequence in a subject's feed


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is stored."""

    id: str  # as its consumers see it: `evt_…`
    subject_id: str | None  # None: it is about a subscriber
    type: str  # such as subject.succeeded
    sequence: int  # among the events of its subject or subscriber, from 1
    body: bytes  # the JSON that is signed and sent
    position: Position  # in the feed that it was read from
    account: str | None = None  # its account's name; None but in the feed of every account


_AFTER = {"account_id": "text", "xid": "text", "position": "bigint"}
_COLUMNS = "id, subject_id, type, sequence, body, CAST(CAST(xid AS text) AS bigint), position"
_FEED = text(f"""
    SELECT {_COLUMNS}
    FROM events
    WHERE account_id = :account_id
    AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
    AND xid < pg_snapshot_xmin(pg_current_snapshot()) AND body IS NOT NULL
    ORDER BY events.xid, position LIMIT :limit  -- not by what is selected, which has its name too
""")  # noqa: S608 - only our own column names are put in
BODY = 4  # the index of the body in _COLUMNS
# An event that is committed but may not be shown yet comes without its body.
_UPDATES = text(f"""
    SELECT after.account_id, e.id, e.subject_id, e.type, e.sequence,
        CASE WHEN e.shown THEN e.body END, CAST(CAST(e.xid AS text) AS bigint), e.position
    FROM {from_rows("after", _AFTER)}
    CROSS JOIN LATERAL (
        SELECT *, xid < pg_snapshot_xmin(pg_current_snapshot()) AS shown FROM events
        WHERE account_id = after.account_id
        AND (xid, position) > (CAST(after.xid AS xid8), after.position) AND body IS NOT NULL
        ORDER BY xid, position LIMIT :limit
    ) e ORDER BY after.account_id, e.xid, e.position
""")  # noqa: S608 - likewise
# The condition on the position always holds: the index of all events is found by it.
_UPDATES_OF_ALL = text("""
    SELECT id, subject_id, type, sequence, CASE WHEN shown THEN body END,
        CAST(CAST(xid AS text) AS bigint), position,
        (SELECT name FROM accounts WHERE accounts.id = account_id)
    FROM (
        SELECT *, xid < pg_snapshot_xmin(pg_current_snapshot()) AS shown FROM events
        WHERE position > 0
        AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
        AND body IS NOT NULL
        ORDER BY xid, position LIMIT :limit
    ) e ORDER BY e.xid, e.position
""")
_NOW = text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")


async def feed(
    tx: Connection, account_id: str | None, after: Position, limit: int
) -> list[StoredEvent]:
    """The next events of an account after a position, oldest first; at most `limit`. Without an
    account: those of every account."""
    if account_id is None:
        return (await updates_of_all(tx, after, limit)).events
    values = {
        "account_id": account_id,
        "xid": str(after.xid),
        "position": after.number,
        "limit": limit,
    }
    return [_event(row) for row in await tx.execute(_FEED, values)]


async def of_subject(
    tx: Connection, subject_id: str, after: Position, limit: int
) -> list[StoredEvent]:
    """The next events of a subject after a position, in sequence; at most `limit`. The subject's
    row lock orders their commits, so all that is committed is shown."""
    statement = (
        select(
            events.c.id,
            events.c.subject_id,
            events.c.type,
            events.c.sequence,
            events.c.body,
            text("0"),
            events.c.sequence,
        )
        .where(
            events.c.subject_id == subject_id,
            events.c.sequence > after.number,
            events.c.body.is_not(None),
        )
        .order_by(events.c.sequence)
        .limit(limit)
    )
    return [_event(row) for row in await tx.execute(statement)]


async def now(tx: Connection) -> Position:
    """The position, in any account's feed, after all events that are shown at present."""
    return Position(await tx.scalar(_NOW), 0)


@dataclass(slots=True)
class FeedUpdate:
    """The events of a feed after a position."""

    events: list[StoredEvent] = field(default_factory=list)  # oldest first
    hidden: bool = False  # more events are committed, but may not be shown yet


async def updates(
    tx: Connection, positions: Sequence[tuple[str, Position]], limit: int
) -> dict[str, FeedUpdate]:
    """What the feeds of many accounts have after a position each, by account id, each at most
    `limit` events; an account without new events is left out."""
    after = [
        {"account_id": account_id, "xid": str(position.xid), "position": position.number}
        for account_id, position in positions
    ]
    found: dict[str, FeedUpdate] = {}
    for account_id, *row in await tx.execute(
        _UPDATES, {"after": encode_rows(after), "limit": limit}
    ):
        _add(found.setdefault(account_id, FeedUpdate()), row)
    return found


async def updates_of_all(tx: Connection, after: Position, limit: int) -> FeedUpdate:
    """What the feed of every account has after a position; at most `limit` events."""
    values = {"xid": str(after.xid), "position": after.number, "limit": limit}
    update = FeedUpdate()
    for row in await tx.execute(_UPDATES_OF_ALL, values):
        _add(update, row)
    return update


def _add(update: FeedUpdate, row: Sequence[Any]) -> None:
    if row[BODY] is None:
        update.hidden = True
    else:
        update.events.append(_event(row))


def _event(row: Row) -> StoredEvent:
    id_, subject_id, type_, sequence, body, xid, position, *account = row
    return StoredEvent(id_, subject_id, type_, sequence, body, Position(xid, position), *account)
