"""Deliveries and subscribers as far as it says why they wait."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.delivery_why import MAX_AHEAD, WaitingDelivery
from service.delivery.domain.subscriber_why import WaitingSubscriber
from service.kit.database.connection import Connection
from service.subscribers.domain.subscriber import SubscriberState

_DELIVERY = text("""
    SELECT d.state, d.due_at, d.lease_token IS NOT NULL,
        greatest(d.created_at, d.replayed_at, last.ended_at), d.attempts - d.attempts_at_replay,
        1 + coalesce(
            (SELECT cardinality(s.schedule) FROM subscribers s WHERE s.id = d.subscriber_id),
            :retries
        ),
        last.error, earlier.event_id, earlier.due_at, (
            SELECT count(*) FROM (
                SELECT 1 FROM deliveries q
                WHERE q.subscriber_id = d.subscriber_id AND q.state = 'pending'
                AND q.due_at <= least(d.due_at, :now) AND q.lease_token IS NULL AND q.id <> d.id
                LIMIT :max_ahead
            ) q
        )
    FROM deliveries d
    LEFT JOIN LATERAL (
        SELECT started_at + make_interval(secs => latency_ms / 1000) AS ended_at, error
        FROM attempts WHERE delivery_id = d.id ORDER BY number DESC LIMIT 1
    ) last ON true
    LEFT JOIN LATERAL (
        SELECT q.event_id, q.due_at FROM deliveries q
        WHERE q.subscriber_id = d.subscriber_id AND q.ordering_key = d.ordering_key
        AND q.state = 'pending' AND q.sequence < d.sequence
        ORDER BY q.sequence LIMIT 1
    ) earlier ON d.due_at IS NULL
    WHERE d.id = :id
""")
_SUBSCRIBERS = text("""
    SELECT s.id, s.account_id, s.state, coalesce(s.state_since, s.created_at), s.disabled_reason,
        h.concurrency, h.max_rate, h.current_rate, h.rate_changed_at, h.rate_limited_until,
        h.circuit_open_until, coalesce(h.failures, 0), h.failing_since, u.under_way,
        u.next_lease_end
    FROM subscribers s
    LEFT JOIN subscriber_health h ON h.subscriber_id = s.id
    CROSS JOIN LATERAL (
        SELECT count(*) AS under_way, min(d.due_at) AS next_lease_end FROM deliveries d
        WHERE d.subscriber_id = s.id AND d.lease_token IS NOT NULL AND d.due_at > :now
    ) u
    WHERE s.id = ANY (CAST(:ids AS text[]))
""")


async def delivery(
    tx: Connection, delivery_id: str, retries: int, now: datetime
) -> WaitingDelivery | None:
    """The delivery of this id, None if there is none; `retries` is how often one is tried again
    whose subscriber has no schedule of its own."""
    values = {"id": delivery_id, "retries": retries, "now": now, "max_ahead": MAX_AHEAD}
    row = await tx.first(_DELIVERY, values)
    if row is None:
        return None
    state, *rest = row
    return WaitingDelivery(DeliveryState(state), *rest)


async def subscribers(
    tx: Connection, subscriber_ids: Sequence[str], now: datetime
) -> dict[str, WaitingSubscriber]:
    """The subscribers of these ids, as far as they are there."""
    rows = await tx.execute(_SUBSCRIBERS, {"ids": subscriber_ids, "now": now})
    return {
        id_: WaitingSubscriber(account_id, SubscriberState(state), *rest)
        for id_, account_id, state, *rest in rows
    }
