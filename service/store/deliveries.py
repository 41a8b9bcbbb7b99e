"""Deliveries: claimed under a lease, recorded only under the token they were claimed with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text, update

from service.store.database import Transaction
from service.store.outgoing import attempts, deliveries, events


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed delivery, with all that an attempt needs. `secret` is still sealed."""

    id: str
    subscriber_id: str
    subject_id: str
    sequence: int
    event_id: str
    type: str
    body: bytes
    url: str
    secret: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """One attempt, as it is kept. `status` is None where there was no answer."""

    at: datetime
    status: int | None
    latency_ms: float
    error: str | None
    answer: bytes
    delivered: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery as its account sees it."""

    id: str
    event_id: str
    subscriber_id: str
    type: str
    state: str
    due_at: datetime | None
    created_at: datetime
    attempts: tuple[Recorded, ...]


# The lease is the due time pushed forward: a claim whose worker died is simply due again.
# Subscribers with something pending are found by skipping from one to the next in the index; each
# has a lane of its own, so that one which hangs cannot hold what the others need.
_CLAIM = text("""
    WITH RECURSIVE lanes AS (
        (
            SELECT subscriber_id FROM deliveries
            WHERE state = 'pending' AND due_at IS NOT NULL ORDER BY subscriber_id, due_at LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT d.subscriber_id FROM deliveries d
            WHERE d.state = 'pending' AND d.due_at IS NOT NULL AND d.subscriber_id > l.subscriber_id
            ORDER BY d.subscriber_id, d.due_at LIMIT 1
        )
        FROM lanes l WHERE l.subscriber_id IS NOT NULL
    ), due AS (
        SELECT q.id, q.due_at FROM lanes l
        JOIN subscribers s ON s.id = l.subscriber_id AND s.state = 'active'
        CROSS JOIN LATERAL (
            SELECT d.id, d.due_at FROM deliveries d
            WHERE d.subscriber_id = s.id AND d.state = 'pending' AND d.due_at <= :now
            ORDER BY d.due_at LIMIT (
                SELECT greatest(CAST(:lane AS bigint) - count(*), 0) FROM deliveries b
                WHERE b.subscriber_id = s.id AND b.lease_token IS NOT NULL AND b.due_at > :now
            )
        ) q
    ), locked AS (
        SELECT id FROM deliveries  -- only what is pending has a due time
        WHERE due_at <= :now AND id = ANY (ARRAY(SELECT id FROM due ORDER BY due_at LIMIT :limit))
        FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries d SET lease_token = :token, due_at = :lease_until
    FROM locked, events e, subscribers s
    WHERE d.id = locked.id AND e.id = d.event_id AND s.id = d.subscriber_id
    RETURNING d.id, d.subscriber_id, d.subject_id, d.sequence, d.event_id, e.type, e.body,
        s.url, s.secret, d.attempts
""")


async def claim(  # noqa: PLR0913 - a claim's terms
    tx: Transaction, *, now: datetime, lease_until: datetime, token: str, limit: int, lane: int
) -> list[Due]:
    """Deliveries that are due to active subscribers, the longest due first; at most `lane` are
    under way to one subscriber, over all workers."""
    values = {
        "now": now,
        "lease_until": lease_until,
        "token": token,
        "limit": limit,
        "lane": lane,
    }
    return [Due(*row) for row in await tx.execute(_CLAIM, values)]


# Whatever ends makes the next of the same subject due. The caller holds the subject, so an event
# that is being written now either sees this end, or is seen here.
_RECORD = text("""
    WITH recorded AS (
        UPDATE deliveries SET
            state = CAST(:state AS text), due_at = :due_at, lease_token = NULL,
            attempts = attempts + 1,
            finished_at = CASE WHEN :state = 'pending' THEN NULL ELSE CAST(:now AS timestamptz) END
        WHERE id = :id AND lease_token = :token
        RETURNING id, subscriber_id, subject_id, sequence, attempts, state
    ), kept AS (
        INSERT INTO attempts (delivery_id, number, at, status, latency_ms, error, answer, delivered)
        SELECT id, attempts, :at, :status, :latency_ms, :error, :answer, :delivered FROM recorded
    ), following AS (
        UPDATE deliveries SET due_at = CAST(:now AS timestamptz) WHERE id = (
            SELECT id FROM deliveries
            WHERE (SELECT state FROM recorded) <> 'pending' AND state = 'pending'
            AND subscriber_id = (SELECT subscriber_id FROM recorded)
            AND subject_id = (SELECT subject_id FROM recorded)
            AND sequence > (SELECT sequence FROM recorded)
            ORDER BY sequence LIMIT 1
        )
        RETURNING id
    )
    SELECT (SELECT count(*) FROM recorded), (SELECT count(*) FROM following)
""")


async def record(  # noqa: PLR0913 - one row's worth
    tx: Transaction,
    due: Due,
    token: str,
    attempt: Recorded,
    *,
    state: str,
    due_at: datetime | None,
    now: datetime,
) -> tuple[bool, bool]:
    """Keep an attempt and what it came to: (ours to record, another is due now).

    Not ours: the lease ran out and somebody else has it, so nothing is written.
    """
    values = {
        "id": due.id,
        "token": token,
        "state": state,
        "due_at": due_at,
        "now": now,
        "at": attempt.at,
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "error": attempt.error,
        "answer": attempt.answer,
        "delivered": attempt.delivered,
    }
    recorded, following = (await tx.execute(_RECORD, values)).one()
    return bool(recorded), bool(following)


async def cancel_all(tx: Transaction, subscriber_id: str, now: datetime) -> None:
    """Nothing that still waits for this subscriber is sent any more. Rows are locked in the order
    in which records lock them: else each might wait for the other."""
    waiting = (
        select(deliveries.c.id)
        .where(deliveries.c.subscriber_id == subscriber_id, deliveries.c.state == "pending")
        .order_by(deliveries.c.subject_id, deliveries.c.sequence)
        .with_for_update()
        .cte("waiting")
    )
    await tx.execute(
        update(deliveries)
        .where(deliveries.c.id == waiting.c.id)
        .values(state="canceled", due_at=None, lease_token=None, finished_at=now)
    )


async def of_subscriber(tx: Transaction, subscriber_id: str, limit: int) -> list[Shown]:
    """A subscriber's deliveries with their attempts, the newest first."""
    statement = (
        select(
            deliveries.c.id,
            deliveries.c.event_id,
            deliveries.c.subscriber_id,
            events.c.type,
            deliveries.c.state,
            deliveries.c.due_at,
            deliveries.c.created_at,
        )
        .join(events, events.c.id == deliveries.c.event_id)
        .where(deliveries.c.subscriber_id == subscriber_id)
        .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        .limit(limit)
    )
    rows = (await tx.execute(statement)).all()
    made = await _attempts(tx, [row.id for row in rows])
    return [Shown(*row, attempts=tuple(made.get(row.id, ()))) for row in rows]


async def _attempts(tx: Transaction, ids: Sequence[str]) -> dict[str, list[Recorded]]:
    statement = (
        select(
            attempts.c.delivery_id,
            attempts.c.at,
            attempts.c.status,
            attempts.c.latency_ms,
            attempts.c.error,
            attempts.c.answer,
            attempts.c.delivered,
        )
        .where(attempts.c.delivery_id.in_(ids))
        .order_by(attempts.c.delivery_id, attempts.c.number)
    )
    made: dict[str, list[Recorded]] = {}
    rows: list[Any] = list(await tx.execute(statement)) if ids else []
    for delivery_id, *attempt in rows:
        made.setdefault(delivery_id, []).append(Recorded(*attempt))
    return made
