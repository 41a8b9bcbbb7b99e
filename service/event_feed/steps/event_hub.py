"""The hub: news of each account that is followed, read once and handed to all who follow it.

Postgres' notices wake it; a look each second, as long as somebody follows, finds what they missed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

import structlog

from service.event_feed.steps.feed_reader import PAGE, Batch, BatchWaiter, FeedReader, of_subject
from service.event_feed.store import feed
from service.event_feed.store.feed import FeedUpdate, Position, StoredEvent
from service.kit.database.listen import listen
from service.kit.errors import Unavailable
from service.resources import Resources
from service.subjects.store.events import NOTIFY_CHANNEL

log = structlog.get_logger()

MOST = 10_000  # who follow at once, in one process
MOST_OF_ACCOUNT = 6_000  # and of one account
POLL = 1.0  # seconds between looks that nobody woke
PAUSE = 0.005  # seconds from one look to the next; what comes meanwhile goes into that one
HIDDEN_FIRST = 0.002  # seconds until a look for what is committed, but not shown yet; then doubled
RECONNECT = 1.0  # seconds between tries to listen
READERS = 4  # connections at most that those who catch up use
SPOKES = 10  # beats until each has ticked once: a tenth of them with every beat
BEAT = 1.0  # seconds


class AccountFeed:
    """Those who follow one account or its subjects, or every account, and the place up to which
    they were told."""

    __slots__ = ("followers", "place")

    def __init__(self, place: Position) -> None:
        self.place = place
        self.followers: dict[str | None, set[FeedReader]] = {}

    def add(self, follower: FeedReader) -> None:
        self.followers.setdefault(follower.subject_id, set()).add(follower)

    def remove(self, follower: FeedReader) -> None:
        beside = self.followers.get(follower.subject_id, set())
        beside.discard(follower)
        if not beside:
            self.followers.pop(follower.subject_id, None)

    def tell(self, events: Sequence[StoredEvent]) -> None:
        fresh = [event for event in events if event.place > self.place]
        if not fresh:
            return
        self.place = fresh[-1].place
        feeds: dict[str | None, list[StoredEvent]] = {None: fresh}
        for event in fresh:
            if event.subject_id in self.followers and event.subject_id is not None:
                feeds.setdefault(event.subject_id, []).append(of_subject(event))
        for subject_id, told in feeds.items():
            batch = Batch(told)
            for follower in tuple(self.followers.get(subject_id, ())):
                follower.push(batch)


class EventHub:
    """One for each process; it does nothing until somebody follows."""

    def __init__(self, resources: Resources, most: int = MOST) -> None:
        self._database = resources.database
        self._url = resources.settings.database_url
        self._most = most
        # By account; None has those who follow every account.
        self._channels: dict[str | None, AccountFeed] = {}
        self._counts: Counter[str | None] = Counter()
        self._count = 0
        self._spokes: list[set[FeedReader]] = [set() for _ in range(SPOKES)]
        self._woken: set[str | None] = set()
        self._hidden: set[str | None] = set()
        self._bell = asyncio.Event()
        self._reading = asyncio.Semaphore(READERS)
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def join(self, follower: FeedReader) -> None:
        """Tell it from now on; Unavailable if there are too many, or the process is to end."""
        account_id = follower.account_id
        self._admit(account_id)
        try:
            if account_id not in self._channels:
                self._open(account_id, await self.now())
            self._refuse_if_closed()
        except BaseException:
            self._release(account_id)
            raise
        channel = self._channels[account_id]
        channel.add(follower)
        self._spokes[self._count % SPOKES].add(follower)
        follower.enter(channel.place, self._read)
        self._bell.set()

    def leave(self, follower: FeedReader) -> None:
        for spoke in self._spokes:
            spoke.discard(follower)
        self._channels[follower.account_id].remove(follower)
        self._release(follower.account_id)

    async def wait(self, waiter: BatchWaiter, seconds: float) -> Sequence[StoredEvent]:
        """The first events that come to it within so many seconds; none, if the process ends."""
        await self.join(waiter)
        try:
            return await waiter.first(seconds)
        finally:
            self.leave(waiter)

    def close(self) -> None:
        """End all who follow, and take no more."""
        self.closed = True
        for follower in tuple(self.followers()):
            follower.end()

    async def now(self) -> Position:
        """The place after all that is shown at present."""
        async with self._reading, self._database.autocommit() as tx:
            return await feed.now(tx)

    def _open(self, account_id: str | None, now: Position) -> None:
        """Notices about it that came before this were not for us."""
        self._channels.setdefault(account_id, AccountFeed(now))
        self._woken.add(account_id)

    async def _read(self, follower: FeedReader) -> list[StoredEvent]:
        async with self._reading, self._database.autocommit() as tx:
            if follower.subject_id is not None:
                return await feed.of_subject(tx, follower.subject_id, follower.after, PAGE)
            return await feed.feed(tx, follower.account_id, follower.after, PAGE)

    def _admit(self, account_id: str | None) -> None:
        self._refuse_if_closed()
        if self._count >= self._most or self._counts[account_id] >= MOST_OF_ACCOUNT:
            raise Unavailable("too many follow already; come back later")
        if not self._tasks:
            works = (self._look_for_ever(), self._listen_for_ever(), self._tick_for_ever())
            self._tasks = [asyncio.create_task(work) for work in works]
        self._counts[account_id] += 1
        self._count += 1

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise Unavailable("this process is about to end; come again")

    def _release(self, account_id: str | None) -> None:
        self._counts[account_id] -= 1
        self._count -= 1
        if not self._counts[account_id]:
            del self._counts[account_id]
            self._channels.pop(account_id, None)

    def followers(self) -> Iterator[FeedReader]:
        for spoke in self._spokes:
            yield from spoke

    def _heard(self, payload: str) -> None:
        """Accounts with news, separated by commas; none: it may be any."""
        named = {None, *payload.split(",")} if payload else self._channels
        self._woken |= self._channels.keys() & named
        if self._woken:
            self._bell.set()

    async def _look_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        whole_at, hidden_after = loop.time() + POLL, HIDDEN_FIRST
        while True:
            await self._rung(min(whole_at - loop.time(), hidden_after if self._hidden else POLL))
            asked = self._woken | self._hidden
            if self._woken:
                hidden_after = HIDDEN_FIRST
            if loop.time() >= whole_at:
                asked = set(self._channels)
                whole_at = loop.time() + POLL
            self._woken, self._hidden = set(), set()
            await self._look_safely(asked & self._channels.keys())
            hidden_after = min(2 * hidden_after, POLL) if self._hidden else HIDDEN_FIRST
            await asyncio.sleep(PAUSE)

    async def _rung(self, seconds: float) -> None:
        """Wait for a wake; at most so long, if anybody follows."""
        if not self._woken:
            self._bell.clear()
            try:
                async with asyncio.timeout(max(0, seconds) if self._channels else None):
                    await self._bell.wait()
            except TimeoutError:
                pass

    async def _look_safely(self, accounts: set[str | None]) -> None:
        if not accounts:
            return
        try:
            await self._look(accounts)
        except Unavailable as error:
            log.warning("feed", action="look_failed", error=repr(error.__cause__))
        except Exception:
            log.exception("feed", action="fault")

    async def _look(self, accounts: set[str | None]) -> None:
        """One query for all of them, and one for those who follow every account."""
        places = {account_id: self._channels[account_id].place for account_id in accounts}
        every = places.pop(None, None)
        async with self._database.autocommit() as tx:
            if named := [(id_, place) for id_, place in places.items() if id_ is not None]:
                for account_id, news in (await feed.updates(tx, named, PAGE)).items():
                    self._tell(account_id, news)
            if every is not None:
                self._tell(None, await feed.updates_of_all(tx, every, PAGE))

    def _tell(self, account_id: str | None, news: FeedUpdate) -> None:
        channel = self._channels.get(account_id)
        if channel is None:  # nobody follows any more
            return
        channel.tell(news.events)
        if news.hidden:
            self._hidden.add(account_id)
        elif len(news.events) == PAGE:
            self._woken.add(account_id)

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await listen(self._url, NOTIFY_CHANNEL, self._heard)
            except Unavailable as error:
                log.warning("feed", action="not_listening", error=repr(error.__cause__))
            except Exception:
                log.exception("feed", action="fault")
            await asyncio.sleep(RECONNECT)

    async def _tick_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for spoke in self._spokes:
                await asyncio.sleep(BEAT)
                for follower in tuple(spoke):
                    _tick_safely(follower, loop.time())


def _tick_safely(follower: FeedReader, now: float) -> None:
    try:
        follower.tick(now)
    except Exception:
        log.exception("feed", action="fault")
