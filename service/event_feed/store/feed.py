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

from sqlalchemy import text

from service.event_feed.domain.places import START, Horizon, Position
from service.kit.database.connection import Connection, Row
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.transaction_ids import FIRST_OPEN, event_xid, event_xid_number


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


@dataclass(frozen=True, slots=True)
class Page:
    """The next events of a feed after a position, and its horizon at the same moment."""

    events: list[StoredEvent]  # oldest first
    horizon: Horizon
    full: bool  # as many as were asked for: there may be more


_AFTER = {"account_id": "text", "xid": "text", "position": "bigint"}
_COLUMNS = "id, subject_id, type, sequence, body, CAST(CAST(xid AS text) AS bigint), position"
_HORIZON_COLUMNS = """
    CAST(CAST({pruned}.pruned_xid AS text) AS bigint), {pruned}.pruned_position,
    i.feed_epoch, i.epoch_before, CAST(CAST(i.epoch_xid AS text) AS bigint), i.epoch_position
"""
_HORIZON_WIDTH = 6  # columns
_HORIZON = text(f"""
    SELECT {_HORIZON_COLUMNS.format(pruned="a")}
    FROM installation i LEFT JOIN accounts a ON a.id = :account_id WHERE i.id = 1
""")  # noqa: S608 - only our own column names are put in
_HORIZON_OF_ALL = text(f"""
    SELECT {_HORIZON_COLUMNS.format(pruned="i")} FROM installation i WHERE i.id = 1
""")  # noqa: S608 - likewise
# The events and the horizon are of one snapshot: what is pruned meanwhile is missing from neither,
# or from both.
_FEED = text(f"""
    SELECT {_HORIZON_COLUMNS.format(pruned="a")}, e.*
    FROM installation i LEFT JOIN accounts a ON a.id = :account_id
    LEFT JOIN LATERAL (
        SELECT {_COLUMNS} FROM events
        WHERE account_id = :account_id
        AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
        AND xid < {event_xid(FIRST_OPEN)} AND body IS NOT NULL
        ORDER BY events.xid, position LIMIT :limit  -- not by what is selected, of the same name
    ) e ON true WHERE i.id = 1
""")  # noqa: S608 - only our own column names are put in
# The condition on the position always holds: the index of all events is found by it.
_FEED_OF_ALL = text(f"""
    SELECT {_HORIZON_COLUMNS.format(pruned="i")}, e.*
    FROM installation i LEFT JOIN LATERAL (
        SELECT {_COLUMNS}, (SELECT name FROM accounts WHERE accounts.id = account_id) FROM events
        WHERE position > 0
        AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
        AND xid < {event_xid(FIRST_OPEN)} AND body IS NOT NULL
        ORDER BY events.xid, position LIMIT :limit
    ) e ON true WHERE i.id = 1
""")  # noqa: S608 - likewise
# A subject is pruned with all its events, and its row lock orders their commits: all that is
# committed is shown. In another epoch it may have had others, so its feed begins at the start.
_OF_SUBJECT = text("""
    SELECT NULL, NULL, i.feed_epoch, i.epoch_before, NULL, NULL, e.*
    FROM installation i JOIN subjects s ON s.id = :subject_id AND s.account_id = :account_id
    LEFT JOIN LATERAL (
        SELECT id, subject_id, type, sequence, body, 0, sequence AS number FROM events
        WHERE subject_id = :subject_id AND sequence > :after AND body IS NOT NULL
        ORDER BY sequence LIMIT :limit
    ) e ON true WHERE i.id = 1
""")
# An event that is committed but may not be shown yet comes without its body.
_UPDATES = text(f"""
    SELECT after.account_id, e.id, e.subject_id, e.type, e.sequence,
        CASE WHEN e.shown THEN e.body END, CAST(CAST(e.xid AS text) AS bigint), e.position
    FROM {from_rows("after", _AFTER)}
    CROSS JOIN LATERAL (
        SELECT *, xid < {event_xid(FIRST_OPEN)} AS shown FROM events
        WHERE account_id = after.account_id
        AND (xid, position) > (CAST(after.xid AS xid8), after.position) AND body IS NOT NULL
        ORDER BY xid, position LIMIT :limit
    ) e ORDER BY after.account_id, e.xid, e.position
""")  # noqa: S608 - likewise
_UPDATES_OF_ALL = text(f"""
    SELECT id, subject_id, type, sequence, CASE WHEN shown THEN body END,
        CAST(CAST(xid AS text) AS bigint), position,
        (SELECT name FROM accounts WHERE accounts.id = account_id)
    FROM (
        SELECT *, xid < {event_xid(FIRST_OPEN)} AS shown FROM events
        WHERE position > 0
        AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
        AND body IS NOT NULL
        ORDER BY xid, position LIMIT :limit
    ) e ORDER BY e.xid, e.position
""")  # noqa: S608 - likewise
_NOW = text(f"""
    SELECT {event_xid_number(FIRST_OPEN)}, feed_epoch FROM installation WHERE id = 1
""")  # noqa: S608 - likewise
BODY = 4  # the index of the body in _COLUMNS


async def page(tx: Connection, account_id: str | None, after: Position, limit: int) -> Page:
    """The next events of an account after a position, at most `limit`. Without an account: those
    of every account."""
    values = {"xid": str(after.xid), "position": after.number, "limit": limit}
    if account_id is None:
        return _page(await tx.execute(_FEED_OF_ALL, values), limit)
    return _page(await tx.execute(_FEED, values | {"account_id": account_id}), limit)


async def subject_page(
    tx: Connection, account_id: str, subject_id: str, after: Position, limit: int
) -> Page | None:
    """The next events of a subject after a position, in sequence; at most `limit`. None if the
    account has no such subject."""
    values = {
        "account_id": account_id,
        "subject_id": subject_id,
        "after": after.number,
        "limit": limit,
    }
    rows = await tx.execute(_OF_SUBJECT, values)
    return _page(rows, limit) if rows else None


async def horizon(tx: Connection, account_id: str | None) -> Horizon:
    """The horizon of an account's feed; without an account, of the feed of every account."""
    if account_id is None:
        return _horizon(await tx.first(_HORIZON_OF_ALL))
    return _horizon(await tx.first(_HORIZON, {"account_id": account_id}))


def _page(rows: Sequence[Row], limit: int) -> Page:
    """A page of rows that all begin with the horizon; one without events has nothing behind it."""
    found = [row[_HORIZON_WIDTH:] for row in rows]
    events = [_event(row) for row in found if row[0] is not None]
    return Page(events, _horizon(rows[0]), len(events) >= limit)


def _horizon(row: Row) -> Horizon:
    pruned_xid, pruned, epoch, epoch_before, began_xid, began, *_ = row
    return Horizon(
        START if pruned_xid is None else Position(pruned_xid, pruned),
        epoch,
        epoch_before,
        START if began_xid is None else Position(began_xid, began),
    )


async def now(tx: Connection) -> tuple[Position, int]:
    """The position, in any account's feed, after all events that are shown at present; and the
    present epoch of feeds."""
    xid, epoch = await tx.first(_NOW)
    return Position(xid, 0), epoch


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
