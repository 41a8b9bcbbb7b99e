"""Recording attempts under the lease of their claim (store/claim.py); making retries due early, and
canceling what waits for a disabled subscriber.

A delivery that waits has no due time: the record that ends the one before it makes it due. Whoever
makes one wait (subjects/store/events.py, store/replay.py) therefore locks the pending deliveries
before it, and raises their `followers`; it does not wait for those that have ended by then. A
record ends a delivery only while its followers are as many as were known before the statement
began, so that the statement sees them all; else it is tried again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import text

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.subscriber_health import AttemptResult
from service.delivery.store.claim import DueDelivery
from service.delivery.store.pending import waiting_sql
from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.kit.database.json_rows import columns_of, encode_rows, from_rows


class AttemptRecord(Struct, frozen=True):
    """An attempt at a claimed delivery as it is recorded, and what it makes of the delivery."""

    delivery: DueDelivery  # as it was claimed
    started_at: datetime  # time of its signature
    status: int | None  # HTTP status; None if there was none
    latency_ms: float  # milliseconds until the answer, or the failure
    error: str | None  # why it failed, in words; None if it was delivered
    response_body: bytes  # the start of the answer; empty if there was none
    state: DeliveryState  # the delivery's next one: it has ended, or is pending again
    due_at: datetime | None  # when a pending delivery is due again; None if it has ended
    result: AttemptResult | None  # what it says of the subscriber's health; None if nothing


class _Row(Struct, omit_defaults=True):
    """An attempt as it is written, and what must still be so."""

    id: str
    token: str
    state: str
    followers: int
    started_at: datetime
    latency_ms: float
    delivered: bool
    due_at: datetime | None = None
    status: int | None = None
    error: str | None = None


# Deliveries are locked in the order of their ids, by everybody: here, and by _RECORD, which takes
# them in the order in which they are given.
_LOCK = text("""
    SELECT id, lease_token, followers FROM deliveries
    WHERE id = ANY (CAST(:ids AS text[])) ORDER BY id FOR NO KEY UPDATE
""")
_RECORD = text(f"""
    WITH
    -- 1 the attempts, of which those count whose lease is still the delivery's; an end is written
    -- only if all its followers are known
    recorded AS (
        UPDATE deliveries d SET
            state = g.state, due_at = g.due_at, lease_token = NULL, attempts = d.attempts + 1,
            finished_at = CASE WHEN g.state <> 'pending' THEN CAST(:now AS timestamptz) END
        FROM (SELECT * FROM {from_rows("attempts", columns_of(_Row), bytea="response_bodies")}) g
        WHERE d.id = ANY (CAST(:ids AS text[])) AND d.id = g.id
        AND (d.lease_token = g.token) IS TRUE
        AND (d.followers = g.followers OR g.state = 'pending')
        RETURNING d.id, d.subscriber_id, d.ordering_key, d.followers, d.attempts, d.state,
            g.started_at, g.status, g.latency_ms, g.error, g.bytes, g.delivered
    ),
    -- 2 their entries in the delivery log
    logged AS (
        INSERT INTO attempts (delivery_id, number, started_at, status, latency_ms, error,
            response_body, delivered)
        SELECT id, attempts, started_at, status, latency_ms, error, bytes, delivered FROM recorded
    ),
    -- 3 the first behind a delivery which has ended is due now. One that was due already, as it was
    -- replayed meanwhile, is told of those that wait behind it
    following AS (
        UPDATE deliveries SET due_at = coalesce(due_at, CAST(:now AS timestamptz)),
            followers = followers + CAST(due_at IS NOT NULL AS int)
        WHERE (state = 'pending') IS TRUE AND id = ANY (ARRAY(
            SELECT (
                SELECT d.id FROM deliveries d
                WHERE d.subscriber_id = r.subscriber_id AND d.ordering_key = r.ordering_key
                AND d.state = 'pending'
                AND d.id <> ALL (ARRAY(SELECT id FROM recorded WHERE state <> 'pending'))
                ORDER BY d.sequence LIMIT 1
            )
            FROM recorded r WHERE r.state <> 'pending' AND r.followers > 0
        ))
        RETURNING id
    )
    -- 4 the subscribers whose health a success would change. The others are healthy at this moment:
    -- results that their row is not given come before whatever is written of it next
    SELECT ARRAY(SELECT id FROM recorded), (SELECT count(*) FROM following), ARRAY(
        SELECT h.subscriber_id FROM subscriber_health h
        WHERE h.subscriber_id = ANY (ARRAY(SELECT subscriber_id FROM recorded))
        AND (h.failures > 0 OR h.status = 'failing'
            OR num_nonnulls(h.current_rate, h.circuit_open_until) > 0)
    )
""")  # noqa: S608 - only our own column names are put in


async def lock_claimed(
    tx: Connection, attempts: Sequence[AttemptRecord]
) -> Sequence[AttemptRecord]:
    """Lock the deliveries of these attempts, and note how many followers each has now. Gives the
    attempts whose lease is still the delivery's."""
    rows = await tx.execute(_LOCK, {"ids": [attempt.delivery.id for attempt in attempts]})
    locked = {id_: (token, followers) for id_, token, followers in rows}
    held = []
    for attempt in attempts:
        token, followers = locked.get(attempt.delivery.id, (None, 0))
        if token == attempt.delivery.lease.token:
            attempt.delivery.followers = followers
            held.append(attempt)
    return held


async def record_attempts(
    tx: Connection, attempts: Sequence[AttemptRecord], now: datetime
) -> tuple[set[str], int, set[str]]:
    """Record attempts, and what they make of their deliveries.

    Gives the ids of the deliveries that were recorded; how many others are due now; and the ids of
    the subscribers that are not healthy, so that even a success changes their health. Nothing is
    written of an attempt whose lease ran out, so that another worker has the delivery.

    In a transaction the caller has locked the deliveries; without one, each of the few statements
    that this takes commits what it records.
    """
    recorded: set[str] = set()
    unhealthy: set[str] = set()
    due, rest = 0, sorted(attempts, key=lambda attempt: attempt.delivery.id)
    while rest:
        found, following, failing = await tx.first(_RECORD, _values(rest, now))
        recorded.update(found)
        unhealthy.update(failing)
        due += following
        if len(recorded) == len(attempts):
            break
        rest = [attempt for attempt in rest if attempt.delivery.id not in recorded]
        rest = list(await lock_claimed(tx, rest))  # not those whose lease is over
    return recorded, due, unhealthy


def _values(attempts: Sequence[AttemptRecord], now: datetime) -> dict[str, Any]:
    return {
        "ids": [attempt.delivery.id for attempt in attempts],
        "attempts": encode_rows([_row(attempt) for attempt in attempts]),
        "response_bodies": [attempt.response_body for attempt in attempts],
        "now": now,
    }


def _row(attempt: AttemptRecord) -> _Row:
    delivery = attempt.delivery
    return _Row(
        id=delivery.id,
        token=delivery.lease.token,
        state=attempt.state,
        followers=delivery.followers,
        started_at=attempt.started_at,
        latency_ms=attempt.latency_ms,
        delivered=attempt.state is DeliveryState.DELIVERED,
        due_at=attempt.due_at,
        status=attempt.status,
        error=attempt.error,
    )


# Of each ordering key the last is canceled first: if the subscriber is made active again meanwhile,
# what is left begins with a delivery that has a due time.
_CANCEL = text(f"""
    WITH RECURSIVE
    -- 1 who has something pending
    {waiting_sql(AT_HOME)},
    -- 2 which of these are disabled, and not made active again until this is written
    disabled AS (
        SELECT id FROM subscribers
        WHERE id = ANY (ARRAY(SELECT subscriber_id FROM waiting)) AND state = 'disabled'
        ORDER BY id FOR SHARE SKIP LOCKED
    ),
    -- 3 theirs are canceled; one under way only once its attempt is recorded, or its lease is over
    canceled AS (
        UPDATE deliveries SET
            state = 'canceled', due_at = NULL, lease_token = NULL, finished_at = :now
        WHERE id = ANY (ARRAY(
            SELECT q.id FROM disabled s CROSS JOIN LATERAL (
                SELECT d.id FROM deliveries d
                WHERE d.subscriber_id = s.id AND d.state = 'pending'
                AND (d.lease_token IS NULL OR d.due_at <= :now)
                ORDER BY d.ordering_key DESC, d.sequence DESC
                LIMIT :limit FOR UPDATE SKIP LOCKED
            ) q
            LIMIT :limit
        ))
        RETURNING id
    )
    SELECT count(*) FROM canceled
""")  # noqa: S608 - only our own words are put in
_MAKE_RETRIES_DUE = text("""
    WITH made_due AS (
        UPDATE deliveries SET due_at = :now WHERE id = ANY (ARRAY(
            SELECT id FROM deliveries
            WHERE subscriber_id = :subscriber_id AND state = 'pending' AND due_at > :now
            AND lease_token IS NULL
            ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING id
    )
    SELECT count(*) FROM made_due
""")


async def cancel_waiting(tx: Connection, fence: Fence, now: datetime, limit: int) -> int:
    """Cancel what waits for disabled subscribers, at most `limit` deliveries; how many these were:
    none outside the fence."""
    values = {"now": now, "limit": limit, **fence.values()}
    return int(await tx.scalar(_CANCEL, values))


async def make_retries_due(tx: Connection, subscriber_id: str, now: datetime, limit: int) -> int:
    """Make the retries to a subscriber due now, at most `limit` of them; how many these were."""
    values = {"subscriber_id": subscriber_id, "now": now, "limit": limit}
    return int(await tx.scalar(_MAKE_RETRIES_DUE, values))
