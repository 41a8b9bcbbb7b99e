"""Replaying what a subscriber was, or was not, sent before: in its order, and each event once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import text

from service.delivery.domain.delivery_state import ENDED, DeliveryState
from service.event_feed.store.feed import Position
from service.kit.database.connection import Connection, Row
from service.subjects.store.events import WANTS_EVENT
from service.subscribers.domain.subscriber import Ordering, SubscriberState, SubscriberType

# Far more than the clocks of our processes differ by, and than a transaction lasts: what is that
# much older was written before.
DISORDER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """A subscriber that events are replayed to."""

    id: str
    account_id: str
    type: SubscriberType
    state: SubscriberState
    ordering: Ordering


@dataclass(frozen=True, slots=True)
class ReplayWindow:
    """The events of an account that a replay has still to look through."""

    account_id: str
    since: datetime
    """They were created at this time or later."""
    until: datetime
    """They were created before this time."""
    above: Position
    """They stand after this position in the account's feed."""
    last: int
    """The last transaction that wrote any of them."""


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """What the next events of a window come to."""

    event_ids: tuple[str, ...]
    """Those that are to be sent, in the order of the feed."""
    subject_ids: tuple[str, ...]
    """The subjects of these, by id."""
    rest: ReplayWindow | None
    """What is left of the window; None if nothing is."""


_TARGET = "SELECT id, account_id, type, state, ordering FROM subscribers WHERE id = :id"
_READ = text(_TARGET)
_LOCK_TARGET = text(f"{_TARGET} FOR SHARE")


async def target(tx: Connection, subscriber_id: str) -> ReplayTarget | None:
    """The subscriber; None if there is none."""
    row = await tx.first(_READ, {"id": subscriber_id})
    return None if row is None else _target(row)


def _target(row: Row) -> ReplayTarget:
    id_, account_id, type_, state, ordering = row
    return ReplayTarget(
        id_, account_id, SubscriberType(type_), SubscriberState(state), Ordering(ordering)
    )


# Whoever records a delivery holds its subject as FOR KEY SHARE does, so that one which ends beside
# this would not see what is made to wait behind it. Subjects come before the subscriber, in the
# order of their ids, as everywhere.
_LOCK_SUBJECTS = text("""
    SELECT 1 FROM subjects WHERE id = ANY (CAST(:ids AS text[])) ORDER BY id FOR UPDATE
""")


async def lock_target(
    tx: Connection, subscriber_id: str, subject_ids: Sequence[str]
) -> ReplayTarget | None:
    """Lock the subscriber and these subjects: until this transaction ends none of them changes, and
    no delivery of theirs is recorded. None if the subscriber is gone."""
    if subject_ids:
        await tx.execute(_LOCK_SUBJECTS, {"ids": list(subject_ids)})
    row = await tx.first(_LOCK_TARGET, {"id": subscriber_id})
    return None if row is None else _target(row)


# No index has the times: a feed has its events nearly in their order, so places in it are sought by
# halves, in about thirty steps, however long it is.
_LAST = text("""
    SELECT CAST(CAST(xid AS text) AS bigint) FROM events
    WHERE account_id = :account_id ORDER BY events.xid DESC, position DESC LIMIT 1
""")
_FROM = text("""
    SELECT CAST(CAST(xid AS text) AS bigint) AS xid, created_at FROM events
    WHERE account_id = :account_id AND xid >= CAST(CAST(:xid AS text) AS xid8)
    ORDER BY events.xid, position LIMIT 1
""")


async def window(
    tx: Connection, account_id: str, since: datetime, until: datetime
) -> ReplayWindow | None:
    """Where the events of this time are in the feed, perhaps among some others; None if the account
    has no events."""
    last = await tx.scalar(_LAST, {"account_id": account_id})
    if last is None:
        return None
    first = await _older(tx, account_id, since - DISORDER, 0, last)
    last = await _older(tx, account_id, until + DISORDER, first, last)
    return ReplayWindow(account_id, since, until, Position(first, 0), last)


async def _older(tx: Connection, account_id: str, than: datetime, low: int, high: int) -> int:
    """A transaction from `low` to `high` which wrote the last event of an account that is older
    than this, or one shortly before or after it."""
    while low < high:
        middle = (low + high + 1) // 2
        values = {"account_id": account_id, "xid": str(middle)}
        found = await tx.first(_FROM, values)
        if found is not None and found["created_at"] < than:
            low = found["xid"]
        else:
            high = middle - 1
    return low


# What each kind of replay sends: of what was sent before, of what never was.
_ONLY = {
    "missing": f"(d.id IS NULL OR d.state IN ('dead', 'canceled')) AND {WANTS_EVENT}",
    "failed": "coalesce(d.state = 'dead', false)",
    "all": f"(d.id IS NULL OR d.state <> 'pending') AND {WANTS_EVENT}",
}
_STATES = {
    "missing": (DeliveryState.DEAD, DeliveryState.CANCELED),
    "failed": (DeliveryState.DEAD,),
    "all": ENDED,
}
KINDS = frozenset(_ONLY)
# As a range of pairs it is served by the one index that leads there directly; and what is looked up
# for each event, rather than joined, is found by its id whatever is thought of the tables' sizes.
_PAIR = """
    (event_id, subscriber_id) >= (e.id, CAST(:subscriber_id AS text))
    AND (event_id, subscriber_id) <= (e.id, CAST(:subscriber_id AS text)) LIMIT 1
"""
_CHUNKS = {
    only: text(f"""
        SELECT CAST(CAST(e.xid AS text) AS bigint), e.position, e.id, e.subject_id, {condition}
        FROM (
            SELECT id, subject_id, about_subscriber_id, type, xid, position FROM events
            WHERE account_id = :account_id AND xid <= CAST(CAST(:last AS text) AS xid8)
            AND (xid, position) > (CAST(CAST(:xid AS text) AS xid8), CAST(:position AS bigint))
            AND created_at >= :since AND created_at < :until
            ORDER BY xid, position LIMIT :limit
        ) e
        JOIN subscribers s ON s.id = :subscriber_id
        LEFT JOIN LATERAL (
            SELECT document ->> 'reference_type' AS reference_type, tags
            FROM subjects WHERE id = e.subject_id LIMIT 1
        ) b ON true
        LEFT JOIN LATERAL (
            SELECT id, state FROM deliveries WHERE {_PAIR}
        ) d ON true
        ORDER BY e.xid, e.position
    """)  # noqa: S608 - only our own words are put in
    for only, condition in _ONLY.items()
}


async def chunk(
    tx: Connection, subscriber_id: str, only: str, window: ReplayWindow, limit: int
) -> ReplayChunk:
    """The next so many events of a window, and which of them a replay of this kind sends."""
    values = {
        "account_id": window.account_id,
        "subscriber_id": subscriber_id,
        "since": window.since,
        "until": window.until,
        "xid": str(window.above.xid),
        "position": window.above.position,
        "last": str(window.last),
        "limit": limit,
    }
    rows = await tx.execute(_CHUNKS[only], values)
    chosen = [(event_id, subject_id) for _, _, event_id, subject_id, wanted in rows if wanted]
    return ReplayChunk(
        tuple(event_id for event_id, _ in chosen),
        tuple(sorted({subject_id for _, subject_id in chosen if subject_id is not None})),
        None if len(rows) < limit else replace(window, above=Position(*rows[-1][:2])),
    )


# Attempts go on counting where they stopped, so that no receiver takes a new one for an old one.
_REQUEUE = text(f"""
    WITH chosen AS (
        SELECT e.id, e.subject_id, e.sequence, d.id AS delivery_id,
            row_number() OVER (ORDER BY e.xid, e.position) AS number
        FROM events e
        LEFT JOIN LATERAL (
            SELECT id FROM deliveries WHERE {_PAIR}
        ) d ON true
        WHERE e.id = ANY (CAST(:event_ids AS text[]))
    ), again AS (
        UPDATE deliveries SET
            state = 'pending', due_at = CAST(:due_at AS timestamptz), finished_at = NULL,
            attempts_at_replay = attempts, replayed_at = :now
        WHERE id = ANY (ARRAY(SELECT delivery_id FROM chosen))
        AND state = ANY (CAST(:states AS text[]))
        RETURNING ordering_key
    ), made AS (
        INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state, due_at,
            replayed_at, created_at)
        SELECT CAST(:stem AS text) || '_' || number, id, :subscriber_id, coalesce(subject_id, id),
            sequence, 'pending', CAST(:due_at AS timestamptz), :now, :now
        FROM chosen WHERE delivery_id IS NULL ORDER BY number
        ON CONFLICT (event_id, subscriber_id) DO NOTHING
        RETURNING ordering_key
    ), sent AS (SELECT ordering_key FROM again UNION ALL SELECT ordering_key FROM made)
    SELECT (SELECT count(*) FROM sent), ARRAY(SELECT DISTINCT ordering_key FROM sent)
""")  # noqa: S608 - likewise
# Of each subject only the first that waits is due; what is under way is let be.
_ORDER = text("""
    WITH waiting AS (
        SELECT w.* FROM unnest(CAST(:subject_ids AS text[])) AS s (id)
        CROSS JOIN LATERAL (
            SELECT id, due_at, row_number() OVER (ORDER BY sequence) = 1 AS first
            FROM deliveries
            WHERE subscriber_id = :subscriber_id AND ordering_key = s.id AND state = 'pending'
        ) w
    ), begun AS (
        UPDATE deliveries SET due_at = :now
        WHERE id = ANY (ARRAY(SELECT id FROM waiting WHERE first AND due_at IS NULL))
        AND due_at IS NULL AND (state = 'pending') IS TRUE
    )
    UPDATE deliveries SET due_at = NULL, lease_token = NULL
    WHERE id = ANY (ARRAY(SELECT id FROM waiting WHERE NOT first AND due_at IS NOT NULL))
    AND (state = 'pending') IS TRUE AND (lease_token IS NULL OR due_at <= :now)
""")


async def requeue(  # noqa: PLR0913 - what is sent, to whom, and when
    tx: Connection,
    to: ReplayTarget,
    event_ids: Sequence[str],
    *,
    states: Sequence[str],
    stem: str,
    now: datetime,
) -> int:
    """Deliver these events anew, as far as they were never to be delivered, or are in one of these
    states; how many that are. The caller holds their subjects; `stem` begins new deliveries' ids.
    """
    ordered = to.ordering is Ordering.PER_SUBJECT
    values = {
        "subscriber_id": to.id,
        "event_ids": list(event_ids),
        "states": list(states),
        "stem": stem,
        "due_at": None if ordered else now,
        "now": now,
    }
    count, subject_ids = await tx.first(_REQUEUE, values)
    if ordered and count:
        values = {"subscriber_id": to.id, "subject_ids": subject_ids, "now": now}
        await tx.execute(_ORDER, values)
    return int(count)


def states_of(only: str) -> tuple[str, ...]:
    """The states out of which a replay of this kind takes deliveries."""
    return _STATES[only]


_MAKE_DUE_NOW = text("""
    UPDATE deliveries SET due_at = :now, lease_token = NULL
    WHERE id = :id AND (state = 'pending') IS TRUE AND due_at IS NOT NULL
    AND (lease_token IS NULL OR due_at <= :now)
""")


async def make_due_now(tx: Connection, delivery_id: str, now: datetime) -> None:
    """What waits for a later try is due now, unless it is just being tried."""
    await tx.execute(_MAKE_DUE_NOW, {"id": delivery_id, "now": now})
