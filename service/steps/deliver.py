"""Delivery: claim under a lease, sign and send outside any transaction, record the attempt."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from service.core.errors import Unavailable
from service.job_queue import Work
from service.remote.delivery_outcomes import AttemptOutcome
from service.steps.batcher import Batcher
from service.steps.leases import Lease, end_of_lease
from service.steps.record import AttemptRecorder, FinishedAttempt, NotSent
from service.steps.resources import Resources
from service.steps.send import OutgoingMessage, send
from service.steps.send_settings import SendSettings
from service.steps.vault import Sealed
from service.store import claim
from service.store.claim import ClaimLimits, DueDelivery

log = structlog.get_logger()

FEW, MANY = 8, 128  # of one subscriber under way at once: at first, and once it answers
WRITERS = 4  # batches of attempts recorded at a time; with fewer, attempts wait for the disk
MOST = 64  # attempts in one of them
AGAIN = 0.2  # seconds between tries to record while Postgres is away


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A due delivery, the lease it is recorded under, and how it is sent: None if that cannot be
    known, as its secrets cannot be opened."""

    due: DueDelivery
    lease: Lease
    profile: SendSettings | None


class Deliverer:
    """Claims deliveries, makes attempts, and has them recorded together."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._recorder = AttemptRecorder(resources)
        self._batcher = Batcher(self._recorder.write, writers=WRITERS, most=MOST)

    async def claim(self, limit: int) -> Sequence[ClaimedDelivery]:
        """Deliveries whose turn has come."""
        resources = self._resources
        now, token = resources.clock(), resources.new_id("lse")
        until = end_of_lease(resources, now)
        proven = self._recorder.pace.proven(now)
        terms = ClaimLimits(token, until, limit, FEW, MANY, proven)
        async with resources.database.careless() as tx:
            due = await claim.claim_due(tx, terms, now)
        wanted = {delivery.subscriber_id: delivery.version for delivery in due}
        known = await resources.send_settings.known(resources.database, wanted, now)
        return [
            ClaimedDelivery(
                delivery, Lease(token, delivery.id, until), known.get(delivery.subscriber_id)
            )
            for delivery in due
        ]

    async def deliver(self, claimed: ClaimedDelivery) -> None:
        """One attempt: signed now, over the bytes that were stored once; and kept."""
        resources, due, profile = self._resources, claimed.due, claimed.profile
        begun = resources.clock()
        if not claimed.lease.lasts(begun):
            log.warning("delivery", action="lease_spent", delivery=due.id)
            return
        attempt: AttemptOutcome | NotSent
        if profile is None:
            attempt = NotSent(str(Sealed()))
        else:
            attempt_id = f"{due.id}.{due.attempts + 1}"
            message = OutgoingMessage(due.event_id, due.type, due.body, attempt_id, due.url)
            attempt = await send(resources, profile, message, begun)
        done = FinishedAttempt(
            due=due,
            token=claimed.lease.token,
            attempt=attempt,
            begun=begun,
            ended=resources.clock(),
            schedule=resources.settings.delivery_schedule if profile is None else profile.schedule,
            shared=profile is not None and profile.type == "callback",
        )
        await self._record(done)
        if due.crowded:
            resources.queue.wake(Work.DELIVER)

    async def _record(self, done: FinishedAttempt) -> None:
        """Tried for as long as a lease lasts: what is not on record by then is sent again."""
        until = end_of_lease(self._resources, done.ended)
        while True:
            try:
                await self._batcher.submit(done)
            except Unavailable:
                if self._resources.clock() > until:
                    raise
                await asyncio.sleep(AGAIN)
            else:
                return
