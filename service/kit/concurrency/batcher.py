"""Batching: what arrives together is written together.

There is no timer: whatever waits is written as soon as a writer is free.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, Self, TypeVar, cast

import structlog

from service.kit.errors import Unavailable
from service.kit.metrics import BATCH_ITEMS

log = structlog.get_logger()

# Batches written at a time: while one is written another is gathered. Each costs Postgres and this
# process as much as ten items, so few and large ones are best.
MAX_WRITERS = 2
MAX_BATCH = 64  # items of one batch
MAX_WAITING = 5000  # items; more are refused
MAX_WAITING_BYTES = 64_000_000  # of all items that wait or are being written; more are refused
LOOP_PASSES = 2  # of the event loop: one in which a request is read, one in which it gets here

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Writes items in batches by `write`, which stores a batch, whole or not at all, and returns a
    result for each item in its order. `name` is what its metrics call it.

    At most `writers` batches of at most `max_batch` items are written at a time, and at most
    `max_waiting` items wait. `size_of` gives the bytes of an item, for MAX_WAITING_BYTES.
    """

    def __init__(  # noqa: PLR0913 - all but two have defaults
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        name: str,
        *,
        writers: int = MAX_WRITERS,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        size_of: Callable[[T], int] = lambda _: 0,
    ) -> None:
        self._write = write
        self._batch_items = BATCH_ITEMS.labels(name)
        self._writers = writers
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._size_of = size_of
        self._size = 0  # bytes of what waits or is being written
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def submit(self, item: T) -> asyncio.Future[R]:
        """The item's result, to be awaited: there once its batch is stored, or Unavailable if it
        could not be. Unavailable at once if too much waits already."""
        size = self._size_of(item)
        if len(self._waiting) >= self._max_waiting or self._size + size > MAX_WAITING_BYTES:
            raise Unavailable("Too much is waiting to be stored. Send it again.")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._size += size
        if len(self._tasks) < self._writers:
            # In a context of its own: it writes for others too, not only for who came first.
            writer = asyncio.create_task(self._write_until_empty(), context=Context())
            self._tasks.add(writer)
        return future

    async def _write_until_empty(self) -> None:
        try:
            while self._waiting:
                await self._let_arrive()
                count = min(self._max_batch, len(self._waiting))
                if count:  # else another writer took them
                    self._batch_items.observe(count)
                    batch = [self._waiting.popleft() for _ in range(count)]
                    await self._write_batch(batch)
                    self._size -= sum(self._size_of(item) for item, _ in batch)
                    del batch  # not to be held while there is nothing to write
        finally:  # at once, and not by a callback: what comes before that would have no writer
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _let_arrive(self) -> None:
        """Wait for the items that are on their way at this moment. Callers that were answered
        together return together: a writer that started with the first of them would write a small
        batch after every large one."""
        count = 0
        while count < len(self._waiting) < self._max_batch:
            count = len(self._waiting)
            for _ in range(LOOP_PASSES):
                await asyncio.sleep(0)

    async def _write_batch(
        self, batch: list[tuple[T, asyncio.Future[R]]], *, alone: bool = False
    ) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Unavailable as error:
            cause = repr(error.__cause__)
            log.warning("batch", action="unavailable", items=len(batch), cause=cause)
            _fail(batch, error)
        except Exception:
            if not alone:  # one bad item must not fail the others, and a race may be over by now
                for entry in batch:
                    await self._write_batch([entry], alone=True)
                return
            log.exception("batch", action="fault")
            _fail(batch, Unavailable())
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(batch: Sequence[tuple[T, "asyncio.Future[R]"]], error: Unavailable) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
