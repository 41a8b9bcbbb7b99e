"""Event hub: reads the new events of each followed account once, and pushes them to all readers.

Postgres NOTIFY wakes it; a read each second, while there are readers, finds what NOTIFY missed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from typing import Self

import structlog

from service.event_feed.domain.places import Position
from service.event_feed.steps.feed_reader import (
    PAGE,
    Batch,
    BatchWaiter,
    FeedReader,
    in_subject_feed,
)
from service.event_feed.steps.read import next_page
from service.event_feed.store import feed
from service.event_feed.store.feed import FeedUpdate, StoredEvent
from service.kit.database.listen import keep_listening
from service.kit.errors import Unavailable
from service.resources import Resources
from service.subjects.store.events import NOTIFY_CHANNEL

log = structlog.get_logger()

MAX_READERS = 10_000  # in one process
MAX_READERS_PER_ACCOUNT = 6_000
READ_INTERVAL = 1.0  # seconds between reads that no notice asked for
DEBOUNCE = 0.005  # seconds from one read to the next; notices meanwhile share that one
HIDDEN_DELAY = 0.002  # seconds until events that are committed, but hidden, are read; then doubled
CATCH_UP_CONNECTIONS = 4  # to Postgres, at most, for readers that are behind
TICK_GROUPS = 10  # readers are ticked a group at a time, so that not all send at once
TICK_INTERVAL = 1.0  # seconds from one group to the next


class AccountFeed:
    """The readers of one account's feed and of its subjects' feeds, or of the feed of every
    account; and the position up to which events were pushed to them."""

    __slots__ = ("position", "readers")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.readers: dict[str | None, set[FeedReader]] = {}  # by subject; None: all subjects

    def add(self, reader: FeedReader) -> None:
        self.readers.setdefault(reader.subject_id, set()).add(reader)

    def remove(self, reader: FeedReader) -> None:
        others = self.readers.get(reader.subject_id, set())
        others.discard(reader)
        if not others:
            self.readers.pop(reader.subject_id, None)

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Push the events that come after `position` to whoever reads them."""
        new = [event for event in events if event.position > self.position]
        if not new:
            return
        self.position = new[-1].position
        feeds: dict[str | None, list[StoredEvent]] = {None: new}
        for event in new:
            if event.subject_id in self.readers and event.subject_id is not None:
                feeds.setdefault(event.subject_id, []).append(in_subject_feed(event))
        for subject_id, subject_events in feeds.items():
            batch = Batch(subject_events)
            for reader in tuple(self.readers.get(subject_id, ())):
                reader.push(batch)


class EventHub:
    """The event hub of a process; it does nothing until there is a reader."""

    def __init__(self, resources: Resources, max_readers: int = MAX_READERS) -> None:
        self._database = resources.database
        self._url = resources.settings.database_url
        self._max_readers = max_readers
        self._feeds: dict[str | None, AccountFeed] = {}  # by account; None: every account
        self._reader_count = 0
        self._readers_of: Counter[str | None] = Counter()  # how many, by account
        self._tick_groups: list[set[FeedReader]] = [set() for _ in range(TICK_GROUPS)]
        self._notified: set[str | None] = set()  # accounts that may have new events
        self._hidden: set[str | None] = set()  # accounts with events that are not shown yet
        self._epoch: int | None = None  # of feeds, as it was read last; None: it was not yet
        self._wake = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCH_UP_CONNECTIONS)
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def join(self, reader: FeedReader) -> None:
        """Push events to this reader from now on; Unavailable if there are too many readers, or
        the process is about to end."""
        account_id = reader.account_id
        self._reserve(account_id)
        try:
            if account_id not in self._feeds:
                now, _ = await self.now()
                self._feeds.setdefault(account_id, AccountFeed(now))
                self._notified.add(account_id)  # notices that came before it were not for us
            self._refuse_if_closed()
        except BaseException:
            self._release(account_id)
            raise
        account_feed = self._feeds[account_id]
        account_feed.add(reader)
        self._tick_groups[self._reader_count % TICK_GROUPS].add(reader)
        reader.enter(account_feed.position, self._read_page)
        self._wake.set()

    def leave(self, reader: FeedReader) -> None:
        """Push nothing more to this reader."""
        for group in self._tick_groups:
            group.discard(reader)
        self._feeds[reader.account_id].remove(reader)
        self._release(reader.account_id)

    async def wait(self, waiter: BatchWaiter, seconds: float) -> Sequence[StoredEvent]:
        """The first events that come within so many seconds; none, if the process ends first."""
        await self.join(waiter)
        try:
            return await waiter.first(seconds)
        finally:
            self.leave(waiter)

    def close(self) -> None:
        """End all readers, and take no more."""
        self.closed = True
        for reader in tuple(self.readers()):
            reader.end()

    def readers(self) -> Iterator[FeedReader]:
        for group in self._tick_groups:
            yield from group

    async def now(self) -> tuple[Position, int]:
        """The position after all events that are shown at present, and the epoch of feeds."""
        async with self._catching_up, self._database.autocommit() as tx:
            return await feed.now(tx)

    async def _read_page(self, reader: FeedReader) -> list[StoredEvent]:
        async with self._catching_up, self._database.autocommit() as tx:
            page = await next_page(tx, reader.account_id, reader.subject_id, reader.after, PAGE)
        reader.check(page.horizon)
        return page.events

    def _reserve(self, account_id: str | None) -> None:
        """Count a reader in, if there may be one more; the first starts the tasks of the hub."""
        self._refuse_if_closed()
        full = self._reader_count >= self._max_readers
        if full or self._readers_of[account_id] >= MAX_READERS_PER_ACCOUNT:
            raise Unavailable("Too many event streams are open. Try again later.")
        if not self._tasks:
            listening = keep_listening(self._url, NOTIFY_CHANNEL, self._on_notice)
            loops = (self._read_loop(), listening, self._tick_loop())
            self._tasks = [asyncio.create_task(loop) for loop in loops]
        self._readers_of[account_id] += 1
        self._reader_count += 1

    def _release(self, account_id: str | None) -> None:
        self._readers_of[account_id] -= 1
        self._reader_count -= 1
        if not self._readers_of[account_id]:
            del self._readers_of[account_id]
            self._feeds.pop(account_id, None)

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise Unavailable("This process is about to end. Connect again.")

    def _on_notice(self, payload: str) -> None:
        """A notice names accounts with new events, separated by commas; empty: it may be any."""
        named = {None, *payload.split(",")} if payload else self._feeds
        self._notified |= self._feeds.keys() & named
        if self._notified:
            self._wake.set()

    async def _read_loop(self) -> None:
        loop = asyncio.get_running_loop()
        read_all_at, hidden_delay = loop.time() + READ_INTERVAL, HIDDEN_DELAY
        while True:
            until_all = read_all_at - loop.time()
            await self._wait_for_wake(min(until_all, hidden_delay) if self._hidden else until_all)
            accounts = self._notified | self._hidden
            if self._notified:
                hidden_delay = HIDDEN_DELAY
            if loop.time() >= read_all_at:
                await self._try(self._follow_epoch())
                accounts = set(self._feeds)
                read_all_at = loop.time() + READ_INTERVAL
            self._notified, self._hidden = set(), set()
            if accounts := accounts & self._feeds.keys():
                await self._try(self._read(accounts))
            hidden_delay = min(2 * hidden_delay, READ_INTERVAL) if self._hidden else HIDDEN_DELAY
            await asyncio.sleep(DEBOUNCE)

    async def _wait_for_wake(self, seconds: float) -> None:
        """Wait for a notice or a new reader; at most so many seconds, if there are readers."""
        if not self._notified:
            self._wake.clear()
            try:
                async with asyncio.timeout(max(0, seconds) if self._feeds else None):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _try(self, reading: Awaitable[None]) -> None:
        try:
            await reading
        except Unavailable as error:
            log.warning("event_feed", action="read_failed", error=repr(error.__cause__))
        except Exception:
            log.exception("event_feed", action="fault")

    async def _follow_epoch(self) -> None:
        """End the readers of another epoch than the present one, and go on with what is new now: a
        database that was restored may be before the positions up to which events were pushed."""
        async with self._database.autocommit() as tx:
            now, epoch = await feed.now(tx)
        if self._epoch not in {None, epoch}:
            for account_feed in self._feeds.values():
                account_feed.position = now
            for reader in tuple(self.readers()):
                if reader.epoch is not None:
                    reader.end()
        self._epoch = epoch

    async def _read(self, accounts: set[str | None]) -> None:
        """One query for all of these accounts, and one for the feed of every account."""
        positions = {account_id: self._feeds[account_id].position for account_id in accounts}
        every = positions.pop(None, None)
        async with self._database.autocommit() as tx:
            if named := [(id_, position) for id_, position in positions.items() if id_ is not None]:
                for account_id, update in (await feed.updates(tx, named, PAGE)).items():
                    self._publish(account_id, update)
            if every is not None:
                self._publish(None, await feed.updates_of_all(tx, every, PAGE))

    def _publish(self, account_id: str | None, update: FeedUpdate) -> None:
        account_feed = self._feeds.get(account_id)
        if account_feed is None:  # its last reader has left meanwhile
            return
        account_feed.publish(update.events)
        if update.hidden:
            self._hidden.add(account_id)
        elif len(update.events) == PAGE:
            self._notified.add(account_id)

    async def _tick_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for group in self._tick_groups:
                await asyncio.sleep(TICK_INTERVAL)
                for reader in tuple(group):
                    _tick_safely(reader, loop.time(), self._epoch)


def _tick_safely(reader: FeedReader, now: float, epoch: int | None) -> None:
    try:
        if reader.epoch in {None, epoch} or epoch is None:
            reader.tick(now)
        else:
            reader.end()  # it joined as a new epoch began
    except Exception:
        log.exception("event_feed", action="fault")
