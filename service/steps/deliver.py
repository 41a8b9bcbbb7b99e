"""Delivery: claim under a lease, sign and send outside any transaction, record the attempt."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from service.core.errors import Unavailable
from service.queue import Work
from service.remote.attempts import Attempt
from service.steps.gather import Gatherer
from service.steps.profiles import Profile
from service.steps.record import Done, NotSent, Recorder
from service.steps.resources import Resources
from service.steps.sending import Message, send
from service.steps.vault import Sealed
from service.store import claims
from service.store.claims import Due, Terms

log = structlog.get_logger()

MARGIN = 10.0  # seconds of a lease beyond an attempt's time-out, to begin and to record in
BEGIN = 5.0  # seconds of those; a worker that was stopped for longer leaves it to others
FEW, MANY = 8, 128  # of one subscriber under way at once: at first, and once it answers
WRITERS = 4  # batches of attempts recorded at a time; with fewer, attempts wait for the disk
MOST = 64  # attempts in one of them
AGAIN = 0.2  # seconds between tries to record while Postgres is away


@dataclass(frozen=True, slots=True)
class Claimed:
    """A due delivery, the token it is recorded under, and how it is sent: None if that cannot be
    known, as its secrets cannot be opened."""

    due: Due
    token: str
    at: datetime
    profile: Profile | None


class Courier:
    """Claims deliveries, makes attempts, and has them recorded together."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._recorder = Recorder(resources)
        self._batcher = Gatherer(self._recorder.write, writers=WRITERS, most=MOST)

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Deliveries whose turn has come."""
        resources, settings = self._resources, self._resources.settings
        now, token = resources.clock(), resources.new_id("lse")
        proven = self._recorder.pace.proven(now)
        terms = Terms(token, limit, FEW, MANY, proven, settings.delivery_timeout, MARGIN)
        async with resources.database.careless() as tx:
            due = await claims.claim(tx, terms, now)
        wanted = {one.subscriber_id: one.version for one in due}
        known = await resources.profiles.known(resources.database, wanted, now)
        return [Claimed(one, token, now, known.get(one.subscriber_id)) for one in due]

    async def deliver(self, claimed: Claimed) -> None:
        """One attempt: signed now, over the bytes that were stored once; and kept."""
        resources, due, profile = self._resources, claimed.due, claimed.profile
        begun = resources.clock()
        if begun > claimed.at + timedelta(seconds=BEGIN):
            log.warning("delivery", action="lease_spent", delivery=due.id)
            return
        attempt: Attempt | NotSent
        if profile is None:
            attempt = NotSent(str(Sealed()))
        else:
            attempt_id = f"{due.id}.{due.attempts + 1}"
            message = Message(due.event_id, due.type, due.body, attempt_id, due.url)
            attempt = await send(resources, profile, message, begun)
        done = Done(
            due=due,
            token=claimed.token,
            attempt=attempt,
            begun=begun,
            ended=resources.clock(),
            schedule=resources.settings.delivery_schedule if profile is None else profile.schedule,
            shared=profile is not None and profile.type == "callback",
        )
        await self._record(done)
        if due.crowded:
            resources.queue.wake(Work.DELIVER, due.subject_id)

    async def _record(self, done: Done) -> None:
        """Tried as long as the lease holds: what is not on record is sent again."""
        while True:
            try:
                await self._batcher.put(done)
            except Unavailable:
                if self._resources.clock() > done.due.lease_until:
                    raise
                await asyncio.sleep(AGAIN)
            else:
                return
