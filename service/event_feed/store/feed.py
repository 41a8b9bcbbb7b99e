"""The feeds: an account's events and a subject's, read so that nothing is lost or seen twice.

Positions are taken before they are committed, so ordering by them alone would skip what commits
late. Rows are ordered by their transaction, and only those are shown below which no transaction is
still open: nothing can appear there any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text

from service.kit.database.connection import Connection, Row
from service.kit.database.json_rows import encode_rows, from_rows
from service.schema.events import events


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a reader is: in an account's feed after this transaction's row at this position; in a
    subject's, after this sequence, with xid 0."""

    xid: int
    position: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was kept, with its place in the feed that it was read from."""

    id: str
    subject_id: str | None
    type: str
    sequence: int
    body: bytes
    place: Position
    account: str | None = None  # its account's name, in the feed of every account


_PLACES = {"account_id": "text", "xid": "text", "position": "bigint"}
_COLUMNS = "id, subject_id, type, sequence, body, CAST(CAST(xid AS text) AS bigint), position"
_FEED = text(f"""
    SELECT {_COLUMNS}
    FROM events
    WHERE account_id = :account_id
    AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
    AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY events.xid, position LIMIT :limit  -- not by what is selected, which has its name too
""")  # noqa: S608 - only our own column names are put in
BODY = 4  # its place among them
# What may not be shown yet is told of without its body.
_NEWS = text(f"""
    SELECT places.account_id, e.id, e.subject_id, e.type, e.sequence,
        CASE WHEN e.shown THEN e.body END, CAST(CAST(e.xid AS text) AS bigint), e.position
    FROM {from_rows("places", _PLACES)}
    CROSS JOIN LATERAL (
        SELECT *, xid < pg_snapshot_xmin(pg_current_snapshot()) AS shown FROM events
        WHERE account_id = places.account_id
        AND (xid, position) > (CAST(places.xid AS xid8), places.position)
        ORDER BY xid, position LIMIT :limit
    ) e ORDER BY places.account_id, e.xid, e.position
""")  # noqa: S608 - likewise
# The condition on the position always holds: the index of all events is found by it.
_NEWS_OF_ALL = text("""
    SELECT id, subject_id, type, sequence, CASE WHEN shown THEN body END,
        CAST(CAST(xid AS text) AS bigint), position,
        (SELECT name FROM accounts WHERE accounts.id = account_id)
    FROM (
        SELECT *, xid < pg_snapshot_xmin(pg_current_snapshot()) AS shown FROM events
        WHERE position > 0
        AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
        ORDER BY xid, position LIMIT :limit
    ) e ORDER BY e.xid, e.position
""")
_NOW = text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")


async def feed(
    tx: Connection, account_id: str | None, after: Position, limit: int
) -> list[StoredEvent]:
    """An account's events after a place, or every account's, oldest first."""
    if account_id is None:
        return (await updates_of_all(tx, after, limit)).events
    values = {
        "account_id": account_id,
        "xid": str(after.xid),
        "position": after.position,
        "limit": limit,
    }
    return [_kept(row) for row in await tx.execute(_FEED, values)]


async def of_subject(
    tx: Connection, subject_id: str, after: Position, limit: int
) -> list[StoredEvent]:
    """A subject's events after a place, in sequence: its row lock orders their commits."""
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
        .where(events.c.subject_id == subject_id, events.c.sequence > after.position)
        .order_by(events.c.sequence)
        .limit(limit)
    )
    return [_kept(row) for row in await tx.execute(statement)]


async def now(tx: Connection) -> Position:
    """The place in every account's feed after all that is shown at present."""
    return Position(await tx.scalar(_NOW), 0)


@dataclass(slots=True)
class FeedUpdate:
    """What an account's feed has after a place; `hidden`: more is committed, but not shown yet."""

    events: list[StoredEvent]
    hidden: bool = False


async def updates(
    tx: Connection, places: Sequence[tuple[str, Position]], limit: int
) -> dict[str, FeedUpdate]:
    """The same as `feed` for many accounts at once; those with nothing new are left out."""
    asked = [
        {"account_id": account_id, "xid": str(place.xid), "position": place.position}
        for account_id, place in places
    ]
    found: dict[str, FeedUpdate] = {}
    for account_id, *row in await tx.execute(_NEWS, {"places": encode_rows(asked), "limit": limit}):
        _tell(found.setdefault(account_id, FeedUpdate([])), row)
    return found


async def updates_of_all(tx: Connection, after: Position, limit: int) -> FeedUpdate:
    """What the feed of every account has after a place."""
    values = {"xid": str(after.xid), "position": after.position, "limit": limit}
    found = FeedUpdate([])
    for row in await tx.execute(_NEWS_OF_ALL, values):
        _tell(found, row)
    return found


def _tell(news: FeedUpdate, row: Sequence[Any]) -> None:
    if row[BODY] is None:
        news.hidden = True
    else:
        news.events.append(_kept(row))


def _kept(row: Row) -> StoredEvent:
    id_, subject_id, type_, sequence, body, xid, position, *account = row
    return StoredEvent(id_, subject_id, type_, sequence, body, Position(xid, position), *account)
