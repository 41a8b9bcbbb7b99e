"""Recording attempts, under the token of their delivery's claim alone (claim.py); and making
due, or canceling, what waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.subscriber_health import AttemptResult
from service.delivery.store.claim import DueDelivery
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt at a claimed delivery as it is recorded, and what it makes of the delivery."""

    delivery: DueDelivery
    started_at: datetime
    status: int | None
    """The HTTP status; None if there was none."""
    latency_ms: float
    error: str | None
    """Why it failed, in words; None if it was delivered."""
    response_body: bytes
    state: DeliveryState
    """The delivery's next one: it has ended, or is pending again."""
    due_at: datetime | None
    """When a pending delivery is due again; None if it has ended."""
    result: AttemptResult | None
    """What the attempt says of its subscriber's health; None if it says nothing."""


_RESULT = {
    "id": "text",
    "token": "text",
    "state": "text",
    "due_at": "timestamptz",
    "started_at": "timestamptz",
    "status": "int",
    "latency_ms": "float",
    "error": "text",
    "delivered": "bool",
}
# Whoever moves a subject waits for this, and this for them, so an event that is being written now
# either sees that a delivery has ended, or is seen by what records it.
_LOCK_SUBJECTS = text("""
    SELECT 1 FROM subjects WHERE id = ANY (CAST(:ids AS text[])) ORDER BY id FOR KEY SHARE
""")
# Whatever ends makes the first that waits behind it due. A subscriber without anything
# that a success resets (domain/subscriber_health.py) is well at this moment: what its row does not
# hear of comes before whatever is written of it next.
_RECORD = text(f"""
    WITH given AS (
        SELECT * FROM {from_rows("results", _RESULT, beside="answers")}
    ), recorded AS (
        UPDATE deliveries d SET
            state = g.state, due_at = g.due_at, lease_token = NULL, attempts = d.attempts + 1,
            finished_at = CASE WHEN g.state = 'pending' THEN NULL
                ELSE CAST(:now AS timestamptz) END
        FROM given g
        WHERE d.id = ANY (CAST(:ids AS text[])) AND d.id = g.id AND d.lease_token = g.token
        RETURNING d.id, d.subscriber_id, d.ordering_key, d.attempts, d.state
    ), kept AS (
        INSERT INTO attempts (delivery_id, number, started_at, status, latency_ms, error,
            response_body, delivered)
        SELECT r.id, r.attempts, g.started_at, g.status, g.latency_ms, g.error, g.bytes, g.delivered
        FROM recorded r JOIN given g ON g.id = r.id
    ), following AS (
        UPDATE deliveries SET due_at = CAST(:now AS timestamptz)
        WHERE due_at IS NULL AND finished_at IS NULL AND id = ANY (ARRAY(
            SELECT (
                SELECT d.id FROM deliveries d
                WHERE d.subscriber_id = r.subscriber_id AND d.ordering_key = r.ordering_key
                AND d.state = 'pending'
                AND d.id <> ALL (ARRAY(SELECT id FROM recorded WHERE state <> 'pending'))
                ORDER BY d.sequence LIMIT 1
            )
            FROM recorded r WHERE r.state <> 'pending'
        ))
        RETURNING id
    )
    SELECT ARRAY(SELECT id FROM recorded), (SELECT count(*) FROM following), ARRAY(
        SELECT l.subscriber_id FROM subscriber_health l
        WHERE l.subscriber_id = ANY (ARRAY(SELECT subscriber_id FROM recorded))
        AND (l.failures > 0 OR l.status = 'failing'
            OR num_nonnulls(l.current_rate, l.circuit_open_until) > 0)
    )
""")  # noqa: S608 - only our own column names are put in


async def lock_subjects(tx: Connection, subject_ids: Sequence[str]) -> None:
    """Wait for whoever moves these subjects, and keep them as they are until this transaction ends.

    The ids come in order, as all who lock several take them.
    """
    await tx.execute(_LOCK_SUBJECTS, {"ids": subject_ids})


async def record_attempts(
    tx: Connection, attempts: Sequence[AttemptRecord], now: datetime
) -> tuple[set[str], int, set[str]]:
    """Keep attempts, and what they make of their deliveries: the ids of the deliveries that were
    ours to record, how many others are due now, and the ids of the subscribers that are not well,
    so that even a success changes their health.

    Not ours: the lease ran out and somebody else has it, so nothing is written of it.
    """
    await lock_subjects(tx, sorted({attempt.delivery.ordering_key for attempt in attempts}))
    values = {
        "results": encode_rows([_row(attempt) for attempt in attempts]),
        "answers": [attempt.response_body for attempt in attempts],
        "ids": [attempt.delivery.id for attempt in attempts],
        "now": now,
    }
    recorded, following, unhealthy = await tx.first(_RECORD, values)
    return set(recorded), int(following), set(unhealthy)


def _row(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "id": attempt.delivery.id,
        "token": attempt.delivery.lease.token,
        "state": attempt.state,
        "due_at": attempt.due_at,
        "started_at": attempt.started_at,
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "error": attempt.error,
        "delivered": attempt.state is DeliveryState.DELIVERED,
    }


# What is under way is let be: it is canceled once its attempt is recorded, or its lease is over. Of
# a subject the last goes first: if the subscriber is made active again meanwhile, what is left of
# it begins with one that has a due time.
_CANCEL = text("""
    WITH RECURSIVE waiting AS (
        (
            SELECT subscriber_id FROM deliveries WHERE state = 'pending'
            ORDER BY subscriber_id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT d.subscriber_id FROM deliveries d
            WHERE d.state = 'pending' AND d.subscriber_id > w.subscriber_id
            ORDER BY d.subscriber_id LIMIT 1
        )
        FROM waiting w WHERE w.subscriber_id IS NOT NULL
    ), disabled AS (  -- and not made active again until this is written
        SELECT id FROM subscribers
        WHERE id = ANY (ARRAY(SELECT subscriber_id FROM waiting)) AND state = 'disabled'
        ORDER BY id FOR SHARE SKIP LOCKED
    ), canceled AS (
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
""")


async def cancel_waiting(tx: Connection, now: datetime, limit: int) -> int:
    """Nothing that still waits for a disabled subscriber is sent any more; how many these were, at
    most `limit`."""
    values = {"now": now, "limit": limit}
    canceled = await tx.scalar(_CANCEL, values)
    return int(canceled)


_MAKE_DUE_NOW = text("""
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


async def make_due_now(tx: Connection, subscriber_id: str, now: datetime, limit: int) -> int:
    """What waits for a later try to this subscriber is due now; how many these were, at most
    `limit`."""
    values = {"subscriber_id": subscriber_id, "now": now, "limit": limit}
    made_due = await tx.scalar(_MAKE_DUE_NOW, values)
    return int(made_due)
