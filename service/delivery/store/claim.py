"""Which deliveries may be made now, and claiming them under a lease."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import datetime

from sqlalchemy import text

from service.delivery.domain.send_settings import SendSettings
from service.delivery.domain.subscriber_health import MAX_PAUSE
from service.kit.database.connection import Connection
from service.kit.leases import Lease
from service.subscribers.domain.subscriber import SubscriberType

BELIEVABLE = 2 * MAX_PAUSE  # seconds; no breaker is ever open, and no pause lasts, longer from now
SHARES = 4  # times its equal share is what a claim looks at of each subscriber


@dataclass(slots=True)
class DueDelivery:
    """A delivery that this worker has claimed, with all that an attempt at it needs."""

    id: str
    subscriber_id: str
    ordering_key: str
    """What is told in sequence: the event's subject, or the event's own id if it is about none. Of
    one key and subscriber, at most one delivery is under way at a time."""
    sequence: int
    """The place of its event among those with this key."""
    event_id: str
    type: str
    body: bytes
    """The exact bytes of the event."""
    url: str | None
    """The request's own callback_url; None if it goes to the subscriber's URL."""
    attempts: int
    """How many were recorded until now."""
    attempts_at_replay: int
    """How many of these were before it was last replayed: the schedule begins after them."""
    subscriber_version: int
    at_limit: bool
    """Whether this claim took as many as its subscriber may have under way: there may be more."""
    _: KW_ONLY
    lease: Lease
    settings: SendSettings | None = None
    """How to send it; None if the subscriber's secrets cannot be decrypted."""

    @property
    def attempt_id(self) -> str:
        """The id of the attempt that comes next."""
        return f"{self.id}.{self.attempts + 1}"

    @property
    def subject_id(self) -> str | None:
        """The subject that its event tells of; None if the event is operational."""
        return None if self.ordering_key == self.event_id else self.ordering_key

    @property
    def shared(self) -> bool:
        """Whether its subscriber stands for many callback_urls, of which none speaks for others."""
        return self.settings is not None and self.settings.type is SubscriberType.CALLBACK


# The lease is the due time pushed forward: a claim whose worker died is simply due again.
_CLAIM = text("""
    WITH RECURSIVE
    -- 1 who has something due, found by skipping from one subscriber to the next in the index
    waiting AS (
        (
            SELECT subscriber_id, due_at FROM deliveries
            WHERE state = 'pending' AND due_at IS NOT NULL ORDER BY subscriber_id, due_at LIMIT 1
        )
        UNION ALL
        SELECT n.subscriber_id, n.due_at FROM waiting w CROSS JOIN LATERAL (
            SELECT d.subscriber_id, d.due_at FROM deliveries d
            WHERE d.state = 'pending' AND d.due_at IS NOT NULL AND d.subscriber_id > w.subscriber_id
            ORDER BY d.subscriber_id, d.due_at LIMIT 1
        ) n
    ),
    -- 2 which of these are active, whether they have limits, and how wide they are without any
    active AS (
        SELECT s.id, l.subscriber_id AS lane,
            num_nonnulls(l.concurrency, l.max_rate, l.current_rate, l.circuit_open_until) > 0
                OR l.rate_limited_until > :now AS limited,
            CASE WHEN s.id = ANY (CAST(:responsive AS text[]))
                THEN CAST(:responsive_concurrency AS bigint) ELSE :initial_concurrency END AS wide
        FROM subscribers s LEFT JOIN subscriber_health l ON l.subscriber_id = s.id
        WHERE s.id = ANY (ARRAY(SELECT subscriber_id FROM waiting WHERE due_at <= :now))
        AND s.state = 'active'
    ),
    -- 3 the health of those with limits, locked: of two claims that overlap one leaves them alone,
    -- as neither sees what the other takes
    held AS (
        SELECT l.subscriber_id, l.concurrency, l.circuit_open_until, l.last_claim_xid,
            least(l.current_rate, l.max_rate) AS rate,
            greatest(  -- at most a second's worth at once; a clock that was wrong is not believed
                CASE WHEN l.rate_limited_until < CAST(:now AS timestamptz) + make_interval(
                    secs => coalesce(2 / least(l.current_rate, l.max_rate), 0) + :believable
                ) THEN l.rate_limited_until END,
                CAST(:now AS timestamptz)
                    - make_interval(secs => greatest(1 / least(l.current_rate, l.max_rate), 1))
            ) AS used_until
        FROM subscriber_health l
        WHERE l.subscriber_id = ANY (ARRAY(SELECT lane FROM active WHERE limited))
        FOR UPDATE SKIP LOCKED
    ),
    -- 4 how many more each may have under way
    room AS (
        SELECT a.id, u.under_way,
            CASE
                WHEN a.limited IS NOT TRUE THEN a.wide - u.under_way
                WHEN h.subscriber_id IS NULL OR h.used_until > :now
                    OR h.circuit_open_until - CAST(:now AS timestamptz)
                        BETWEEN interval '0' AND make_interval(secs => :believable)
                    OR NOT pg_visible_in_snapshot(h.last_claim_xid, pg_current_snapshot()) THEN 0
                ELSE least(
                    CASE
                        WHEN h.circuit_open_until IS NOT NULL THEN 1
                        ELSE coalesce(h.concurrency, a.wide)
                    END - u.under_way,
                    floor(extract(epoch FROM :now - h.used_until) * h.rate + 0.001)
                )
            END AS places
        FROM active a
        CROSS JOIN LATERAL (
            SELECT count(*) AS under_way FROM deliveries d
            WHERE d.subscriber_id = a.id AND d.lease_token IS NOT NULL AND d.due_at > :now
        ) u
        LEFT JOIN held h ON h.subscriber_id = a.id
    ),
    -- 5 the same as one value, by subscriber
    places AS (
        SELECT jsonb_object_agg(id, places) AS map FROM room WHERE places > 0
    ),
    -- 6 what is due of each within its room, in turns: those with the least under way come first,
    -- so that one that hangs, or has much to catch up with, cannot hold what the others need
    due AS (
        SELECT q.id, q.due_at,
            r.under_way + row_number() OVER (PARTITION BY r.id ORDER BY q.due_at) AS turn
        FROM room r
        CROSS JOIN LATERAL (
            SELECT d.id, d.due_at FROM deliveries d
            WHERE d.subscriber_id = r.id AND d.state = 'pending' AND d.due_at <= :now
            ORDER BY d.due_at LIMIT CAST(least(r.places, 1 + :many / (
                SELECT count(*) FROM room WHERE places > 0
            )) AS bigint)
        ) q
        WHERE r.places > 0
    ),
    -- 7 the first of all these, locked; what another claim has locked is left to it
    locked AS (
        SELECT id, subscriber_id, ordering_key, sequence, attempts
        FROM deliveries  -- only what is pending has a due time
        WHERE due_at <= :now
        AND id = ANY (ARRAY(SELECT id FROM due ORDER BY turn, due_at LIMIT :limit))
        FOR UPDATE SKIP LOCKED
    ),
    -- 8 which of these are not first in their order, as an earlier one was sent anew meanwhile
    behind AS (
        SELECT l.id, q.due_at FROM locked l CROSS JOIN LATERAL (
            SELECT d.due_at FROM deliveries d
            WHERE d.subscriber_id = l.subscriber_id AND d.ordering_key = l.ordering_key
            AND d.state = 'pending' AND d.sequence < l.sequence
            ORDER BY d.sequence LIMIT 1
        ) q
        WHERE l.attempts > 0 AND 'per_subject' = (
            SELECT s.ordering FROM subscribers s WHERE s.id = l.subscriber_id
        )
    ),
    -- 9 those are put off until the earlier one is due
    put_off AS (
        UPDATE deliveries d SET due_at = greatest(
            (SELECT b.due_at FROM behind b WHERE b.id = d.id),
            CAST(:now AS timestamptz) + interval '1 second'
        )
        WHERE d.id = ANY (ARRAY(SELECT id FROM behind))
    ),
    -- 10 the rest are claimed
    claimed AS (
        UPDATE deliveries d SET lease_token = :token, due_at = :until
        WHERE d.id = ANY (ARRAY(SELECT id FROM locked EXCEPT SELECT id FROM behind))
        RETURNING d.id, d.subscriber_id, d.ordering_key, d.sequence, d.event_id, d.url, d.attempts,
            d.attempts_at_replay
    ),
    -- 11 what was claimed uses up the rates, and marks who claimed last
    paced AS (
        UPDATE subscriber_health l SET last_claim_xid = pg_current_xact_id(),
            rate_limited_until = coalesce(
                h.used_until + make_interval(secs => c.number / h.rate), l.rate_limited_until
            )
        FROM held h
        JOIN (SELECT subscriber_id, count(*) AS number FROM claimed GROUP BY subscriber_id) c
        ON c.subscriber_id = h.subscriber_id
        WHERE l.subscriber_id = h.subscriber_id
    )
    -- 12 what was claimed, with its event, and whether its subscriber had room for no more
    SELECT c.id, c.subscriber_id, c.ordering_key, c.sequence, c.event_id, e.type, e.body, c.url,
        c.attempts, c.attempts_at_replay, s.version,
        count(*) OVER (PARTITION BY c.subscriber_id)
            >= CAST((SELECT map FROM places) ->> c.subscriber_id AS float)
    FROM claimed c
    JOIN events e ON e.id = c.event_id
    JOIN subscribers s ON s.id = c.subscriber_id
""")


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """What one claim may take, and under which lease."""

    token: str
    until: datetime
    """When the lease ends."""
    limit: int
    """Deliveries, at most."""
    initial_concurrency: int
    """How many a subscriber without a limit of its own may have under way, over all workers."""
    responsive_concurrency: int
    """How many it may have once it is proven."""
    responsive: Sequence[str]
    """The ids of subscribers that have answered well of late."""


async def claim_due(tx: Connection, limits: ClaimLimits, now: datetime) -> list[DueDelivery]:
    """Deliveries that are due to active subscribers, the longest due of each first."""
    values = asdict(limits) | {"now": now, "many": SHARES * limits.limit, "believable": BELIEVABLE}
    return [
        DueDelivery(*row, lease=Lease(limits.token, row[0], limits.until))
        for row in await tx.execute(_CLAIM, values)
    ]
