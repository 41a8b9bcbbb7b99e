"""One who follows a feed: first what the database has, then what is told live, without a seam."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from service.event_feed.store.feed import Position, StoredEvent

PAGE = 200  # events read at a time
MOST_WAITING = 1_000_000  # bytes of events told to one who does not take them
START = Position(0, 0)

Write = Callable[[Sequence[StoredEvent]], Sequence[bytes]]
Read = Callable[["FeedReader"], Awaitable[list[StoredEvent]]]


class Batch:
    """Events of one feed that follow on each other. Those who take all of it share its text."""

    __slots__ = ("_texts", "events", "size")

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.size = sum(len(event.body) for event in events)
        self._texts: dict[Write, Sequence[bytes]] = {}

    def text(self, write: Write) -> Sequence[bytes]:
        """As `write` has it, in pieces; made once for all who have the same one."""
        if write not in self._texts:
            self._texts[write] = write(self.events)
        return self._texts[write]

    def beyond(self, place: Position) -> "Batch | None":
        """What is after a place; None if nothing is."""
        if self.events[0].place > place:
            return self
        fresh = [event for event in self.events if event.place > place]
        return Batch(fresh) if fresh else None


class FeedReader:
    """Follows an account's feed, or that of one of its subjects, from `after` on; without an
    account, the feed of every account.

    While it reads from the database it keeps what is told meanwhile. A page that is not full holds
    all that was told before the reading began, so what was kept joins on to it: what is in both is
    dropped by its place.
    """

    __slots__ = ("_behind", "_read", "_size", "_waiting", "account_id", "after", "subject_id")

    def __init__(self, account_id: str | None, subject_id: str | None, after: Position) -> None:
        self.account_id = account_id
        self.subject_id = subject_id
        self.after = after
        self._read: Read | None = None  # None: it has not entered a feed
        self._behind = True
        self._waiting: list[Batch] | None = None  # None: what is told is not kept
        self._size = 0

    def enter(self, told: Position, read: Read) -> None:
        """From now on all of the account's feed after `told` is offered; `read` gives a page of
        what comes after `after`."""
        self._read = read
        if self.subject_id is None and told <= self.after:
            self._behind, self._waiting = False, []

    def push(self, batch: Batch) -> None:
        """It was told; this never waits."""
        if self._waiting is None:
            return
        if self._waiting and self._size + batch.size > MOST_WAITING:
            self._waiting = None
            if not self._behind:
                self.abort()
            return
        self._waiting.append(batch)
        self._size += batch.size
        self.notify()

    async def next_batch(self) -> Batch | None:
        """What comes next; None if there is nothing at present. One call at a time."""
        while self._behind or self._waiting:
            batch = await self._page() if self._behind else self._told()
            if batch is not None:
                self.after = batch.events[-1].place
                return batch
        return None

    async def _page(self) -> Batch | None:
        if self._read is None:
            raise RuntimeError("one who has not entered a feed has nothing to read")
        self._waiting, self._size = [], 0
        events = await self._read(self)
        self._behind = len(events) == PAGE or self._waiting is None
        if self._behind:
            self._waiting = None
        return Batch(events) if events else None

    def _told(self) -> Batch | None:
        if not self._waiting:
            return None
        told = self._waiting.pop(0)
        self._size -= told.size
        return told.beyond(self.after)

    def notify(self) -> None:
        """There may be more."""

    def tick(self, now: float) -> None:
        """Time passes: called every few seconds, with the event loop's."""

    def end(self) -> None:
        """Nothing more will be told; go, and come back later."""

    def abort(self) -> None:
        """Nothing more will be told, as too much was not taken."""


class BatchWaiter(FeedReader):
    """One who waits for the first events that come."""

    def __init__(self, account_id: str | None, subject_id: str | None, after: Position) -> None:
        super().__init__(account_id, subject_id, after)
        self._notified = asyncio.Event()
        self._ended = False

    def notify(self) -> None:
        self._notified.set()

    def end(self) -> None:
        self._ended = True
        self._notified.set()

    async def first(self, seconds: float) -> Sequence[StoredEvent]:
        """As soon as there are any; none after so many seconds, or if it was ended."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._ended:
            self._notified.clear()
            if (
                batch := await self.next_batch()
            ):  # whole: to break off a query would cost the connection
                return batch.events
            try:
                async with asyncio.timeout_at(deadline):
                    await self._notified.wait()
            except TimeoutError:
                break
        return []


def of_subject(event: StoredEvent) -> StoredEvent:
    """An event of the account's feed, with its place in its subject's."""
    return replace(event, place=Position(0, event.sequence))
