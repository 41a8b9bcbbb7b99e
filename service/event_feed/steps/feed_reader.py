"""Reads an event feed after a position: first pages from Postgres, then live batches, without a
gap.

Long polls and streams (SSE) are both feed readers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from service.event_feed.domain.places import START, Horizon, Place, Position, gap
from service.event_feed.store.feed import StoredEvent

PAGE = 200  # events read at a time
MAX_PENDING_BYTES = 1_000_000  # of live events that one reader has not taken yet

Encode = Callable[[Sequence[StoredEvent]], Sequence[bytes]]
ReadPage = Callable[["FeedReader"], Awaitable[list[StoredEvent]]]


class FeedGapError(Exception):
    """Events may be missing after a reader's place, which it does not know: it has to go on from
    `oldest`."""

    def __init__(self, oldest: Place) -> None:
        super().__init__(oldest)
        self.oldest = oldest


def refuse_gap(place: Place, horizon: Horizon) -> None:
    """FeedGapError if a reader at this place may miss events without knowing."""
    oldest = gap(place, horizon)
    if oldest is not None:
        raise FeedGapError(oldest)


class Batch:
    """Events of one feed that follow on each other; readers that take all of it share its text."""

    __slots__ = ("_encoded", "events", "size")

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.size = sum(len(event.body) for event in events)  # bytes
        self._encoded: dict[Encode, Sequence[bytes]] = {}

    def encoded(self, encode: Encode) -> Sequence[bytes]:
        """The events as `encode` writes them, in pieces; encoded once for all who use the same."""
        if encode not in self._encoded:
            self._encoded[encode] = encode(self.events)
        return self._encoded[encode]

    def after(self, position: Position) -> "Batch | None":
        """The events of this batch that come after a position; None if there are none."""
        if self.events[0].position > position:
            return self
        later = [event for event in self.events if event.position > position]
        return Batch(later) if later else None


class FeedReader:
    """Reads the feed of an account, of one subject, or (without an account) of every account.

    While it reads a page from Postgres it keeps the live batches that come meanwhile. A page that
    is not full holds all events published before the reading began, so the kept batches join on
    to it: an event that is in both is dropped by its position.
    """

    __slots__ = (
        "_behind",
        "_pending",
        "_pending_bytes",
        "_read_page",
        "account_id",
        "acknowledged",
        "after",
        "epoch",
        "subject_id",
    )

    def __init__(
        self,
        account_id: str | None,
        subject_id: str | None,
        after: Position,
        *,
        epoch: int | None = None,
        acknowledged: Position = START,
    ) -> None:
        """`epoch` and `acknowledged` are those of the Place where it begins. Without an epoch it
        reads on in whichever there is: a gap is nothing to it."""
        self.account_id = account_id  # None: every account
        self.subject_id = subject_id  # None: all of the account's subjects
        self.after = after  # the position of the last event that was taken
        self.epoch = epoch
        self.acknowledged = acknowledged
        self._read_page: ReadPage | None = None  # None: it has not entered a feed
        self._behind = True  # there may be events in Postgres that no live batch will bring
        self._pending: list[Batch] | None = None  # live batches to take; None: they are not kept
        self._pending_bytes = 0

    def enter(self, published: Position, read_page: ReadPage) -> None:
        """Begin: all events of the account's feed after `published` will be pushed; `read_page`
        reads from Postgres what comes after `self.after`."""
        self._read_page = read_page
        if self.subject_id is None and published <= self.after:
            self._behind, self._pending = False, []

    def check(self, horizon: Horizon) -> None:
        """Before it takes a page that was read together with this horizon: FeedGapError if it may
        miss events without knowing. If not, it has begun at the start, or knows."""
        if self.epoch is not None:
            refuse_gap(Place(self.after, self.epoch, self.acknowledged), horizon)
            self.acknowledged = max(self.acknowledged, horizon.pruned)

    def push(self, batch: Batch) -> None:
        """Hand over a live batch. It never waits: a reader too slow to take MAX_PENDING_BYTES is
        aborted, or reads them from Postgres if it has not caught up yet."""
        if self._pending is None:
            return
        if self._pending and self._pending_bytes + batch.size > MAX_PENDING_BYTES:
            self._pending = None
            if not self._behind:
                self.abort()
            return
        self._pending.append(batch)
        self._pending_bytes += batch.size
        self.notify()

    async def next_batch(self) -> Batch | None:
        """The next events; None if there are none at present. One call at a time. FeedGapError if
        it may miss events without knowing; NotFound if its subject is gone."""
        while self._behind or self._pending:
            batch = await self._next_page() if self._behind else self._next_pending()
            if batch is not None:
                self.after = batch.events[-1].position
                return batch
        return None

    async def _next_page(self) -> Batch | None:
        if self._read_page is None:
            raise RuntimeError("a reader that has not entered a feed has nothing to read")
        self._pending, self._pending_bytes = [], 0
        events = await self._read_page(self)
        self._behind = len(events) == PAGE or self._pending is None
        if self._behind:
            self._pending = None
        return Batch(events) if events else None

    def _next_pending(self) -> Batch | None:
        if not self._pending:
            return None
        batch = self._pending.pop(0)
        self._pending_bytes -= batch.size
        return batch.after(self.after)

    def notify(self) -> None:
        """There may be more events to take."""

    def tick(self, now: float) -> None:
        """Time passes: called every few seconds with the event loop's time, in seconds."""

    def end(self) -> None:
        """The process ends: nothing more is pushed, and the client should come back later."""

    def abort(self) -> None:
        """The reader was too slow: nothing more is pushed."""


class BatchWaiter(FeedReader):
    """Waits for the first events after a position: one long poll."""

    def __init__(
        self,
        account_id: str | None,
        subject_id: str | None,
        after: Position,
        *,
        epoch: int | None = None,
        acknowledged: Position = START,
    ) -> None:
        super().__init__(account_id, subject_id, after, epoch=epoch, acknowledged=acknowledged)
        self._notified = asyncio.Event()
        self._ended = False

    def notify(self) -> None:
        self._notified.set()

    def end(self) -> None:
        self._ended = True
        self._notified.set()

    async def first(self, seconds: float) -> Sequence[StoredEvent]:
        """The first events, as soon as there are any; none after so many seconds, or if it was
        ended."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._ended:
            self._notified.clear()
            batch = await self.next_batch()  # no time-out: it would break off a query
            if batch is not None:
                return batch.events
            try:
                async with asyncio.timeout_at(deadline):
                    await self._notified.wait()
            except TimeoutError:
                break
        return []


def in_subject_feed(event: StoredEvent) -> StoredEvent:
    """An event of an account's feed as its subject's feed has it: placed by its sequence."""
    return replace(event, position=Position(0, event.sequence))
