"""What a replay looks through: the events of a time, and which of them a subscriber is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import text

from service.delivery.domain.replay_kind import STATES, ReplayKind
from service.event_feed.domain.places import Position
from service.kit.database.connection import Connection
from service.kit.timestamps import EPOCH
from service.schema.base import one_of
from service.subjects.store.events import WANTS_EVENT, delivery_id_sql

# Far more than the clocks of our processes differ by, and than a transaction lasts: an event that
# is that much older was written before.
DISORDER = timedelta(minutes=10)
SCANNED = 5000  # events that one chunk looks through


@dataclass(frozen=True, slots=True)
class ReplayWindow:
    """The events of an account that a replay has still to look through."""

    account_id: str  # whose feed it is
    since: datetime  # they were created at this time or later
    until: datetime  # they were created before this time
    cut_off: datetime  # deliveries that ended later are left alone
    after: Position  # they stand after this position in the account's feed
    last_xid: int  # the last transaction that wrote any of them


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """An event that a replay sends."""

    id: str  # the event's
    subject_id: str | None  # of the subject that it tells of; None: it tells of none
    word: str  # the state of its delivery; `missing` if it has none


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """The next events of a window that a replay sends."""

    events: Sequence[ReplayedEvent]  # in the order of the feed
    rest: ReplayWindow | None  # what is left of the window; None if nothing is


# No index has the times. A feed has its events nearly in their order, so a time is found by binary
# search, in about thirty steps, however long the feed is.
_LAST_XID = text("""
    SELECT CAST(CAST(xid AS text) AS bigint) FROM events
    WHERE account_id = :account_id AND body IS NOT NULL
    ORDER BY events.xid DESC, position DESC LIMIT 1
""")
_FIRST_FROM_XID = text("""
    SELECT CAST(CAST(xid AS text) AS bigint) AS xid, created_at FROM events
    WHERE account_id = :account_id AND xid >= CAST(CAST(:xid AS text) AS xid8)
    AND body IS NOT NULL
    ORDER BY events.xid, position LIMIT 1
""")


async def find_window(
    tx: Connection, account_id: str, since: datetime, until: datetime, cut_off: datetime
) -> ReplayWindow | None:
    """Where the events of this time are in the feed, perhaps among some others; None if the account
    has no events. Deliveries that ended after the cut-off are left alone."""
    last_xid = await tx.scalar(_LAST_XID, {"account_id": account_id})
    if last_xid is None:
        return None
    begin = max(since, EPOCH) - DISORDER  # datetime has no time before the first of its year 1
    first_xid = await _xid_before(tx, account_id, begin, 0, last_xid)
    last_xid = await _xid_before(tx, account_id, until + DISORDER, first_xid, last_xid)
    return ReplayWindow(account_id, since, until, cut_off, Position(first_xid, 0), last_xid)


async def _xid_before(
    tx: Connection, account_id: str, moment: datetime, low: int, high: int
) -> int:
    """A transaction from `low` to `high` that wrote the account's last event before this moment, or
    an event shortly before or after that."""
    while low < high:
        middle = (low + high + 1) // 2
        row = await tx.first(_FIRST_FROM_XID, {"account_id": account_id, "xid": str(middle)})
        if row is not None and row["created_at"] < moment:
            low = row["xid"]
        else:
            high = middle - 1
    return low


def _condition(only: ReplayKind) -> str:
    """Which events a replay of this kind sends: `d` is their delivery to the subscriber, if there
    is one."""
    in_states = f"(d.state IN ({one_of(STATES[only])}) AND d.finished_at <= :cut_off)"
    if only is ReplayKind.FAILED:
        return f"coalesce({in_states}, false)"
    return f"(d.id IS NULL OR {in_states}) AND {WANTS_EVENT}"


# What is looked up for each event, rather than joined, is found by its id, whatever the planner
# thinks of the tables' sizes.
DELIVERY_OF_EVENT = f"id = {delivery_id_sql('e.id', 'CAST(:subscriber_id AS text)')} LIMIT 1"
_CHUNKS = {
    only: text(f"""
        SELECT CAST(CAST(e.xid AS text) AS bigint), e.position, e.id, e.subject_id,
            coalesce(d.state, 'missing'), {_condition(only)}
        -- 1 the next events of the window
        FROM (
            SELECT id, subject_id, about_subscriber_id, type, xid, position FROM events
            WHERE account_id = :account_id AND xid <= CAST(CAST(:last_xid AS text) AS xid8)
            AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
            AND created_at >= :since AND created_at < :until AND body IS NOT NULL  -- not erased
            ORDER BY xid, position LIMIT :limit
        ) e
        -- 2 the subscriber, and what its filters compare
        JOIN subscribers s ON s.id = :subscriber_id
        LEFT JOIN LATERAL (
            SELECT document ->> 'reference_type' AS reference_type, tags
            FROM subjects WHERE id = e.subject_id LIMIT 1
        ) b ON true
        -- 3 the delivery that each may have had
        LEFT JOIN LATERAL (
            SELECT id, state, finished_at FROM deliveries WHERE {DELIVERY_OF_EVENT}
        ) d ON true
        ORDER BY e.xid, e.position
    """)  # noqa: S608 - only our own words are put in
    for only in ReplayKind
}


async def read_chunk(
    tx: Connection,
    subscriber_id: str,
    only: ReplayKind,
    window: ReplayWindow,
    most: int,
) -> ReplayChunk:
    """The next events that a replay of the kind `only` sends, at most `most` of them, among the
    next SCANNED of the window."""
    values = {
        "account_id": window.account_id,
        "subscriber_id": subscriber_id,
        "since": window.since,
        "until": window.until,
        "cut_off": window.cut_off,
        "xid": str(window.after.xid),
        "position": window.after.number,
        "last_xid": str(window.last_xid),
        "limit": SCANNED,
    }
    rows = await tx.execute(_CHUNKS[only], values)
    chosen: list[ReplayedEvent] = []
    for xid, position, *event, sent in rows:
        if sent:
            chosen.append(ReplayedEvent(*event))
        if len(chosen) == most:
            return ReplayChunk(chosen, replace(window, after=Position(xid, position)))
    if len(rows) < SCANNED:
        return ReplayChunk(chosen, None)
    return ReplayChunk(chosen, replace(window, after=Position(*rows[-1][:2])))
