"""Claiming due deliveries under a lease, by rate limits, circuit breakers, fairness and order."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct, structs
from sqlalchemy import text

from service.delivery.domain.send_settings import SendSettings
from service.delivery.domain.subscriber_health import MAX_WAIT
from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.kit.leases import Lease
from service.operations.domain.hold import HoldTarget
from service.operations.store.holds import held_sql
from service.subscribers.domain.subscriber import SubscriberType

SHARES = 4  # a claim looks at so many times its equal share of each subscriber's due deliveries


class DueDelivery(Struct):
    """A delivery that this worker has claimed, with all that an attempt at it needs."""

    lease: Lease  # under which this worker has it
    id: str  # the delivery's
    subscriber_id: str  # whom it goes to
    # Of one ordering key and subscriber, at most one delivery is under way at a time. It is the id
    # of the event's subject, or the event's own if it tells of none.
    ordering_key: str
    sequence: int  # the place of its event among those with this ordering key
    event_id: str  # what it tells of
    type: str  # the event's
    body: bytes  # the exact bytes of the event
    event_at: datetime | None  # when what it tells of happened; None if it was replayed since
    url: str | None  # the request's own callback_url; None if it goes to the subscriber's URL
    attempts: int  # recorded until now
    attempts_at_replay: int  # of these, before its last replay: the schedule begins after them
    followers: int  # that were made to wait behind it, when it was claimed
    subscriber_version: int  # raised with every change of the subscriber
    lease_expired: bool  # whether a worker had claimed it before, and its lease ran out
    at_limit: bool  # this claim took as many as its subscriber may have: there may be more
    settings: SendSettings | None = None  # None if the subscriber's secrets cannot be decrypted

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
        """Whether its subscriber stands for many callback_urls, so that one that fails says nothing
        of the others."""
        return self.settings is not None and self.settings.type is SubscriberType.CALLBACK


# The lease is the due time pushed forward: a claim whose worker died is simply due again.
_CLAIM = text(f"""
    WITH RECURSIVE
    -- 1 whose deliveries are held
    held AS ({held_sql(HoldTarget.DELIVERIES)}),
    -- 2 who has something due, found by skipping from one subscriber to the next in the index
    waiting AS (
        (
            SELECT subscriber_id, due_at FROM deliveries
            WHERE state = 'pending' AND due_at IS NOT NULL
            AND NOT EXISTS (SELECT FROM held WHERE account_id IS NULL) AND {AT_HOME}
            ORDER BY subscriber_id, due_at LIMIT 1
        )
        UNION ALL
        SELECT n.subscriber_id, n.due_at FROM waiting w CROSS JOIN LATERAL (
            SELECT d.subscriber_id, d.due_at FROM deliveries d
            WHERE d.state = 'pending' AND d.due_at IS NOT NULL AND d.subscriber_id > w.subscriber_id
            ORDER BY d.subscriber_id, d.due_at LIMIT 1
        ) n
    ),
    -- 3 which of these are active, whether they have limits, and their concurrency without any
    active AS (
        SELECT s.id,
            num_nonnulls(h.concurrency, h.max_rate, h.current_rate, h.circuit_open_until) > 0
                OR h.rate_limited_until > :now AS limited,
            CASE WHEN s.id = ANY (CAST(:responsive AS text[]))
                THEN CAST(:responsive_concurrency AS bigint)
                ELSE :initial_concurrency END AS concurrency
        FROM subscribers s LEFT JOIN subscriber_health h ON h.subscriber_id = s.id
        WHERE s.id = ANY (ARRAY(SELECT subscriber_id FROM waiting WHERE due_at <= :now))
        AND s.state = 'active' AND s.account_id <> ALL (ARRAY(SELECT account_id FROM held))
    ),
    -- 4 the health of those with limits, locked: of two claims that overlap one leaves them alone,
    -- as neither sees what the other takes
    locked_health AS (
        SELECT h.subscriber_id, h.concurrency, h.circuit_open_until, h.last_claim_xid,
            least(h.current_rate, h.max_rate) AS rate,
            greatest(  -- at most a second's worth at once; a clock that was wrong is not believed
                CASE WHEN h.rate_limited_until < CAST(:now AS timestamptz) + make_interval(
                    secs => coalesce(2 / least(h.current_rate, h.max_rate), 0) + :max_wait
                ) THEN h.rate_limited_until END,
                CAST(:now AS timestamptz)
                    - make_interval(secs => greatest(1 / least(h.current_rate, h.max_rate), 1))
            ) AS rate_used_until
        FROM subscriber_health h
        WHERE h.subscriber_id = ANY (ARRAY(SELECT id FROM active WHERE limited))
        FOR UPDATE SKIP LOCKED
    ),
    -- 5 how many more each may have under way
    capacity AS (
        SELECT a.id, u.under_way,
            CASE
                WHEN a.limited IS NOT TRUE THEN a.concurrency - u.under_way
                WHEN h.subscriber_id IS NULL OR h.rate_used_until > :now
                    OR h.circuit_open_until - CAST(:now AS timestamptz)
                        BETWEEN interval '0' AND make_interval(secs => :max_wait)
                    OR NOT pg_visible_in_snapshot(h.last_claim_xid, pg_current_snapshot()) THEN 0
                ELSE least(
                    CASE
                        WHEN h.circuit_open_until IS NOT NULL THEN 1
                        ELSE coalesce(h.concurrency, a.concurrency)
                    END - u.under_way,
                    floor(extract(epoch FROM :now - h.rate_used_until) * h.rate + 0.001)
                )
            END AS free
        FROM active a
        CROSS JOIN LATERAL (
            SELECT count(*) AS under_way FROM deliveries d
            WHERE d.subscriber_id = a.id AND d.lease_token IS NOT NULL AND d.due_at > :now
        ) u
        LEFT JOIN locked_health h ON h.subscriber_id = a.id
    ),
    -- 6 that as one value, by subscriber
    free_by_subscriber AS (
        SELECT jsonb_object_agg(id, free) AS map FROM capacity WHERE free > 0
    ),
    -- 7 what is due of each within its capacity, in turns: those with the least under way come
    -- first, so that one that hangs, or has much to catch up with, cannot hold what the others need
    due AS (
        SELECT q.id, q.due_at,
            c.under_way + row_number() OVER (PARTITION BY c.id ORDER BY q.due_at) AS turn
        FROM capacity c
        CROSS JOIN LATERAL (
            SELECT d.id, d.due_at FROM deliveries d
            WHERE d.subscriber_id = c.id AND d.state = 'pending' AND d.due_at <= :now
            ORDER BY d.due_at LIMIT CAST(least(c.free, 1 + :max_looked_at / (
                SELECT count(*) FROM capacity WHERE free > 0
            )) AS bigint)
        ) q
        WHERE c.free > 0
    ),
    -- 8 the first of all these, locked; what another claim has locked is left to it
    locked AS (
        SELECT id, subscriber_id, ordering_key, sequence, attempts, lease_token
        FROM deliveries  -- only what is pending has a due time
        WHERE due_at <= :now
        AND id = ANY (ARRAY(SELECT id FROM due ORDER BY turn, due_at LIMIT :limit))
        FOR UPDATE SKIP LOCKED
    ),
    -- 9 which of these are not first in their order, as an earlier one was sent anew meanwhile
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
    -- 10 those are put off until the earlier one is due
    put_off AS (
        UPDATE deliveries d SET due_at = greatest(
            (SELECT b.due_at FROM behind b WHERE b.id = d.id),
            CAST(:now AS timestamptz) + interval '1 second'
        )
        WHERE d.id = ANY (ARRAY(SELECT id FROM behind))
    ),
    -- 11 the rest are claimed
    claimed AS (
        UPDATE deliveries d SET lease_token = :token, due_at = :until
        WHERE d.id = ANY (ARRAY(SELECT id FROM locked EXCEPT SELECT id FROM behind))
        RETURNING d.id, d.subscriber_id, d.ordering_key, d.sequence, d.event_id, d.url, d.attempts,
            d.attempts_at_replay, d.followers,
            CASE WHEN d.replayed_at IS NULL THEN d.created_at END AS event_at
    ),
    -- 12 what was claimed uses up the rates, and marks who claimed last
    rates_used AS (
        UPDATE subscriber_health h SET last_claim_xid = pg_current_xact_id(),
            rate_limited_until = coalesce(
                l.rate_used_until + make_interval(secs => c.number / l.rate), h.rate_limited_until
            )
        FROM locked_health l
        JOIN (SELECT subscriber_id, count(*) AS number FROM claimed GROUP BY subscriber_id) c
        ON c.subscriber_id = l.subscriber_id
        WHERE h.subscriber_id = l.subscriber_id
    )
    -- 13 what was claimed, with its event; whether a worker had claimed it before whose lease ran
    -- out; and whether that was all its subscriber had capacity for
    SELECT c.id, c.subscriber_id, c.ordering_key, c.sequence, c.event_id, e.type, e.body,
        c.event_at, c.url, c.attempts, c.attempts_at_replay, c.followers, s.version,
        c.id = ANY (ARRAY(SELECT id FROM locked WHERE lease_token IS NOT NULL)),
        count(*) OVER (PARTITION BY c.subscriber_id)
            >= CAST((SELECT map FROM free_by_subscriber) ->> c.subscriber_id AS float)
    FROM claimed c
    JOIN events e ON e.id = c.event_id
    JOIN subscribers s ON s.id = c.subscriber_id
""")  # noqa: S608 - only our own words are put in


class ClaimLimits(Struct, frozen=True):
    """What one claim may take, and under which lease."""

    token: str  # of the lease
    until: datetime  # when the lease ends
    limit: int  # deliveries
    initial_concurrency: int  # deliveries under way to one subscriber, over all workers
    responsive_concurrency: int  # to one that is among the responsive
    responsive: Sequence[str]  # ids of subscribers that have answered successfully of late


async def claim_due(
    tx: Connection, fence: Fence, limits: ClaimLimits, now: datetime
) -> list[DueDelivery]:
    """Claim deliveries that are due to active subscribers, the longest due of each
    first. Until their lease ends, no other claim takes them. Those of an account whose deliveries
    are held are passed over; outside the fence there are none."""
    values = {**structs.asdict(limits), **fence.values(), "now": now, "max_wait": MAX_WAIT}
    values["max_looked_at"] = SHARES * limits.limit
    return [
        DueDelivery(Lease(limits.token, row["id"], limits.until), *row)
        for row in await tx.execute(_CLAIM, values)
    ]
