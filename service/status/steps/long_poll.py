"""Waiting for one subject to change: its events wake, and a look now and then finds what makes
none."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

from service.event_feed.steps.event_hub import EventHub
from service.event_feed.steps.feed_reader import BatchWaiter
from service.event_feed.store.feed import Position
from service.kit.errors import Unavailable
from service.subjects.domain.lifecycle import RANK
from service.subjects.domain.subject import Subject

# Seconds from one look to the next: a claim, and what undoes it, make no event. Soon at first, as a
# worker with a free place claims at once; ours.
LOOKS = (1.0, 2.0)
LAST_LOOKS = 4.0  # and so from then on


class LongPoll:
    """One caller's. No connection to Postgres is held while it waits."""

    def __init__(
        self, hub: EventHub, subject: Subject, look: Callable[[], Awaitable[Subject]]
    ) -> None:
        """`look` reads the subject as it is now."""
        self._hub = hub
        self._subject = subject
        self._look = look
        place = Position(0, subject.version)
        self._waiter = BatchWaiter(subject.account_id, subject.id, place)
        self._over = False

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._over = True
        self._waiter.end()

    async def until(self, enough: Callable[[Subject], bool], seconds: float) -> Subject | None:
        """The subject once it is `enough`; else as it was seen last: after so many seconds, or when
        the process is to end, or its caller has gone. None if there is no place to wait in."""
        if seconds <= 0 or enough(self._subject):
            return self._subject
        try:
            await self._hub.join(self._waiter)
        except Unavailable:
            return None
        try:
            await self._wait(enough, seconds)
        finally:
            self._hub.leave(self._waiter)
        return self._subject

    async def _wait(self, enough: Callable[[Subject], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        looks = chain(LOOKS, repeat(LAST_LOOKS))
        while not enough(self._subject) and (left := deadline - loop.time()) > 0:
            all_told = RANK[self._subject.state] > 0  # each move from here on makes an event
            await self._waiter.first(left if all_told else min(left, next(looks)))
            if self._over or self._hub.closed:
                return
            self._subject = await self._look()
