"""Delivery: claim what is due under a lease, send it outside any transaction, record the attempt.

A claim is store/claim.py; steps/send.py signs and sends, through remote/webhook.py or
remote/streams.py; steps/record.py decides what the outcome makes of the delivery, writes it with
store/record.py, and applies it to the subscriber's health.
"""

from collections import Counter
from collections.abc import Sequence

import structlog

from service.delivery.domain.throughput import INITIAL_CONCURRENCY, RESPONSIVE_CONCURRENCY
from service.delivery.remote.outcomes import AttemptOutcome, NotSent
from service.delivery.steps.record import AttemptRecorder
from service.delivery.steps.send import OutgoingMessage, send
from service.delivery.store.claim import ClaimLimits, DueDelivery, claim_due
from service.kit import tracing
from service.kit.crypto.encryption import DecryptionError
from service.metrics import LEASES_EXPIRED
from service.resources import Resources, end_of_lease
from service.subjects.steps import tracing as subject_tracing

log = structlog.get_logger()

CLAIM_SHARE = 4  # a subscriber's next deliveries are claimed once a quarter of its last have ended


class Deliverer:
    """Claims deliveries, makes attempts, and has them recorded together."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._recorder = AttemptRecorder(resources)
        # By subscriber id: deliveries of this worker that are under way, and that have ended since
        # the last claim, where that took as many as the subscriber may have.
        self._under_way = Counter[str]()
        self._freed = Counter[str]()

    async def claim(self, limit: int) -> Sequence[DueDelivery]:
        """Claim at most `limit` deliveries that are due, with the settings to send them by."""
        resources = self._resources
        now, token = resources.clock(), resources.new_id("lse")
        limits = ClaimLimits(
            token,
            end_of_lease(resources, now),
            limit,
            INITIAL_CONCURRENCY,
            RESPONSIVE_CONCURRENCY,
            self._recorder.throughput.responsive(now),
        )
        async with resources.database.relaxed() as tx:
            due = await claim_due(tx, resources.home.fence, limits, now)
        LEASES_EXPIRED.inc(sum(delivery.lease_expired for delivery in due))
        versions = {delivery.subscriber_id: delivery.subscriber_version for delivery in due}
        settings = await resources.send_settings.get_many(resources.database, versions, now)
        for delivery in due:
            delivery.settings = settings.get(delivery.subscriber_id)
            self._under_way[delivery.subscriber_id] += 1
            self._freed.pop(delivery.subscriber_id, None)
        return due

    async def deliver(self, delivery: DueDelivery) -> bool:
        """Make one attempt, signed now over the bytes that were stored once, and record it; whether
        it is time to claim others by that. Nothing is sent if the lease is over."""
        try:
            others_due = await self._attempt(delivery)
        finally:
            room = self._make_room(delivery)
        return others_due or room

    def _make_room(self, delivery: DueDelivery) -> bool:
        """Count a delivery as ended; whether a claim is worth it, of a subscriber that had all that
        it may have: once a quarter of that has ended, as claims are costly."""
        subscriber_id = delivery.subscriber_id
        self._under_way[subscriber_id] -= 1
        self._freed[subscriber_id] += delivery.at_limit
        room = self._freed[subscriber_id] * (CLAIM_SHARE - 1) >= self._under_way[subscriber_id]
        if not self._under_way[subscriber_id]:
            del self._under_way[subscriber_id], self._freed[subscriber_id]
        return room and delivery.at_limit

    async def _attempt(self, delivery: DueDelivery) -> bool:
        """Make one attempt and record it; whether other deliveries are due by that."""
        resources, started_at = self._resources, self._resources.clock()
        if not delivery.lease.outlasts(started_at):
            log.warning("delivery", action="lease_expired", delivery=delivery.id)
            return False
        outcome: AttemptOutcome = NotSent(str(DecryptionError()))
        if delivery.settings is not None:
            message = OutgoingMessage(
                delivery.event_id, delivery.type, delivery.body, delivery.attempt_id, delivery.url
            )
            with tracing.span("deliver") as span:
                outcome = await send(resources, delivery.settings, message, started_at)
                span.set(outcome=type(outcome).__name__, attempt=delivery.attempts + 1)
                await subject_tracing.link(resources, span, delivery.subject_id)
        return await self._recorder.record(delivery, outcome, started_at)
