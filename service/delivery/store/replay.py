"""Events sent to a subscriber anew, each once and in its order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.store.replay_window import DELIVERY_OF_EVENT
from service.kit.database.connection import Connection
from service.subjects.store.events import MAX_FOLLOWED, delivery_id_sql
from service.subscribers.domain.subscriber import Ordering, SubscriberState


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """A subscriber that events are replayed to."""

    id: str  # the subscriber's
    account_id: str  # the subscriber's account
    state: SubscriberState  # none are replayed to a disabled one
    ordering: Ordering  # whether a subject's events are sent in sequence


_LOCK_TARGET = text("""
    SELECT id, account_id, state, ordering FROM subscribers WHERE id = :id FOR SHARE
""")
# Without this lock two replays would not see what the other makes pending, nor an event that is
# written meanwhile what is pending before it. The rows are written anew, though nothing changes in
# them: so a move that was waiting for them fails at its guard, and looks again for what is pending
# (subjects/store/transitions.py). Subjects come before the subscriber, in the order of their ids,
# as everywhere.
_LOCK_SUBJECTS = text("""
    WITH locked AS (
        SELECT id FROM subjects WHERE id = ANY (CAST(:ids AS text[])) ORDER BY id FOR UPDATE
    )
    UPDATE subjects SET updated_at = updated_at WHERE id = ANY (ARRAY(SELECT id FROM locked))
""")


async def lock_target(
    tx: Connection, subscriber_id: str, subject_ids: Sequence[str]
) -> ReplayTarget | None:
    """Lock the subscriber and these subjects: until this transaction ends none of them changes.
    None if the subscriber is gone."""
    if subject_ids:
        await tx.execute(_LOCK_SUBJECTS, {"ids": list(subject_ids)})
    row = await tx.first(_LOCK_TARGET, {"id": subscriber_id})
    if row is None:
        return None
    id_, account_id, state, ordering = row
    return ReplayTarget(id_, account_id, SubscriberState(state), Ordering(ordering))


_IS_ERASED = text("SELECT body IS NULL FROM events WHERE id = :event_id")


async def is_erased(tx: Connection, event_id: str) -> bool:
    """Whether what an event held was erased, so that it can be sent to nobody any more. The caller
    has locked its subject."""
    return bool(await tx.scalar(_IS_ERASED, {"event_id": event_id}))


_REQUEUE = text(f"""
    WITH
    -- 1 the events; one about a subscriber has no subject that would keep it from being pruned
    -- meanwhile, and is locked itself
    kept AS MATERIALIZED (
        SELECT id FROM events
        WHERE id = ANY (CAST(:event_ids AS text[])) AND subject_id IS NULL
        ORDER BY id FOR KEY SHARE
    ),
    -- 2 with the delivery that each may have had
    chosen AS (
        SELECT e.id, e.subject_id, e.sequence, d.id AS delivery_id,
            row_number() OVER (ORDER BY e.xid, e.position) AS number
        FROM events e
        LEFT JOIN LATERAL (
            SELECT id FROM deliveries WHERE {DELIVERY_OF_EVENT}
        ) d ON true
        WHERE e.id = ANY (CAST(:event_ids AS text[])) AND e.body IS NOT NULL  -- not erased
        AND (e.subject_id IS NOT NULL OR e.id IN (SELECT id FROM kept))
    ),
    -- 3 those deliveries begin their schedule again; their attempts go on counting, so that no
    -- receiver takes a new attempt for an old one
    requeued AS (
        UPDATE deliveries SET
            state = 'pending', due_at = CAST(:due_at AS timestamptz), finished_at = NULL,
            attempts_at_replay = attempts, replayed_at = :now
        WHERE id = ANY (ARRAY(SELECT delivery_id FROM chosen))
        AND state = ANY (CAST(:states AS text[]))
        RETURNING ordering_key
    ),
    -- 4 events without a delivery get one
    made AS (
        INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state, due_at,
            replayed_at, created_at)
        SELECT {delivery_id_sql("id", "CAST(:subscriber_id AS text)")}, id, :subscriber_id,
            coalesce(subject_id, id), sequence, 'pending', CAST(:due_at AS timestamptz), :now, :now
        FROM chosen WHERE delivery_id IS NULL ORDER BY number
        ON CONFLICT (id) DO NOTHING
        RETURNING ordering_key
    ),
    pending AS (SELECT ordering_key FROM requeued UNION ALL SELECT ordering_key FROM made)
    SELECT (SELECT count(*) FROM pending), ARRAY(SELECT DISTINCT ordering_key FROM pending)
""")  # noqa: S608 - likewise
# All that is pending of these ordering keys is locked, and told that others may wait behind it: so
# none of it ends meanwhile, and whoever ends it later knows (store/record.py).
_FOLLOW = text(f"""
    UPDATE deliveries SET followers = followers + 1 WHERE id = ANY (ARRAY(
        SELECT id FROM deliveries
        WHERE id = ANY (ARRAY(
            SELECT q.id FROM unnest(CAST(:ordering_keys AS text[])) AS k (ordering_key)
            CROSS JOIN LATERAL (
                SELECT d.id FROM deliveries d
                WHERE d.subscriber_id = :subscriber_id AND d.ordering_key = k.ordering_key
                AND d.state = 'pending'
                ORDER BY d.sequence LIMIT {MAX_FOLLOWED}
            ) q
        ))
        AND (state = 'pending') IS TRUE
        ORDER BY id FOR NO KEY UPDATE
    ))
""")  # noqa: S608 - our own number
# Of each ordering key only the first pending delivery is due; one that is under way stays so.
_PUT_IN_ORDER = text("""
    WITH waiting AS (
        SELECT w.* FROM unnest(CAST(:ordering_keys AS text[])) AS k (ordering_key)
        CROSS JOIN LATERAL (
            SELECT id, due_at, row_number() OVER (ORDER BY sequence) = 1 AS first
            FROM deliveries
            WHERE subscriber_id = :subscriber_id AND ordering_key = k.ordering_key
            AND state = 'pending'
        ) w
    ), made_due AS (
        UPDATE deliveries SET due_at = :now
        WHERE id = ANY (ARRAY(SELECT id FROM waiting WHERE first AND due_at IS NULL))
        AND due_at IS NULL AND (state = 'pending') IS TRUE
    )
    UPDATE deliveries SET due_at = NULL, lease_token = NULL
    WHERE id = ANY (ARRAY(SELECT id FROM waiting WHERE NOT first AND due_at IS NOT NULL))
    AND (state = 'pending') IS TRUE AND (lease_token IS NULL OR due_at <= :now)
""")
_MAKE_RETRY_DUE = text("""
    UPDATE deliveries SET due_at = :now, lease_token = NULL
    WHERE id = :id AND (state = 'pending') IS TRUE AND due_at IS NOT NULL
    AND (lease_token IS NULL OR due_at <= :now)
""")


async def requeue(
    tx: Connection,
    to: ReplayTarget,
    event_ids: Sequence[str],
    *,
    states: Sequence[DeliveryState],
    now: datetime,
) -> int:
    """Make deliveries of these events to a subscriber pending: those in one of these states begin
    their schedule again, and missing ones are made. How many that are.

    The caller has locked the events' subjects.
    """
    ordered = to.ordering is Ordering.PER_SUBJECT
    values = {
        "subscriber_id": to.id,
        "event_ids": list(event_ids),
        "states": list(states),
        "due_at": None if ordered else now,
        "now": now,
    }
    count, ordering_keys = await tx.first(_REQUEUE, values)
    if ordered and count:
        values = {"subscriber_id": to.id, "ordering_keys": ordering_keys}
        await tx.execute(_FOLLOW, values)
        await tx.execute(_PUT_IN_ORDER, values | {"now": now})
    return int(count)


async def make_retry_due(tx: Connection, delivery_id: str, now: datetime) -> None:
    """Make the next attempt at a pending delivery due now, unless one is under way or it waits
    behind another."""
    await tx.execute(_MAKE_RETRY_DUE, {"id": delivery_id, "now": now})
