"""Long poll of one subject (Prefer: wait): an event of it wakes the caller, and a read now and
then finds changes of state that make no event."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

from service.event_feed.domain.places import Position
from service.event_feed.steps.event_hub import EventHub
from service.event_feed.steps.feed_reader import BatchWaiter
from service.kit.errors import Unavailable
from service.subjects.domain.lifecycle import RANK
from service.subjects.domain.subject import WaitingView

# Seconds from one read to the next: a claim, and what undoes it, make no event. Soon at first, as a
# worker with a free slot claims at once. Our own figures.
READ_DELAYS = (1.0, 2.0)
LAST_READ_DELAY = 4.0  # from then on


class LongPoll:
    """One caller's wait. It holds no connection to Postgres."""

    def __init__(
        self, hub: EventHub, subject: WaitingView, read: Callable[[], Awaitable[WaitingView]]
    ) -> None:
        """`subject` is as it was read last; `read` reads it again."""
        self._hub = hub
        self._subject = subject
        self._read = read
        last_event = Position(0, subject.version)
        self._waiter = BatchWaiter(subject.account_id, subject.id, last_event)
        self._ended = False

    def end(self) -> None:
        """End the wait: the caller has gone."""
        self._ended = True
        self._waiter.end()

    async def until(
        self, done: Callable[[WaitingView], bool], seconds: float
    ) -> WaitingView | None:
        """The subject once it is `done`; or as it was read last, after so many seconds, when the
        process is about to end, or when the caller has gone. None if too many wait already."""
        if seconds <= 0 or done(self._subject):
            return self._subject
        try:
            await self._hub.join(self._waiter)
        except Unavailable:
            return None
        try:
            await self._wait(done, seconds)
        finally:
            self._hub.leave(self._waiter)
        return self._subject

    async def _wait(self, done: Callable[[WaitingView], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        delays = chain(READ_DELAYS, repeat(LAST_READ_DELAY))
        while not done(self._subject) and (left := deadline - loop.time()) > 0:
            # Once the provider has taken it, each move makes an event.
            woken_by_events = RANK[self._subject.state] > 0
            await self._waiter.first(left if woken_by_events else min(left, next(delays)))
            if self._ended or self._hub.closed:
                return
            self._subject = await self._read()
