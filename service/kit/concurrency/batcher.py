"""What arrives together is written together: no timer, so nothing waits for what may never come."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Self, TypeVar

import structlog

from service.kit.errors import Unavailable

log = structlog.get_logger()

MAX_WRITERS = 4  # batches written at a time: with fewer, this process waits for Postgres
MAX_BATCH = 32  # items of one batch; measured best
MAX_WAITING = 5000  # items that wait; beyond it, come back later
MAX_WAITING_BYTES = 64_000_000  # bytes of all that wait or are being written; likewise
LOOP_PASSES = 2  # of the event loop: one in which a request is read, one in which it gets here

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """`write` stores a batch, whole or not at all, and gives a result for each item.

    At most `writers` batches of at most `most` items are written at a time; `bound` items may wait,
    and what `weigh` gives for each, in bytes, is bounded too.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        writers: int = MAX_WRITERS,
        most: int = MAX_BATCH,
        bound: int = MAX_WAITING,
        weigh: Callable[[T], int] = lambda _: 0,
    ) -> None:
        self._write = write
        self._most = most
        self._bound = bound
        self._weigh = weigh
        self._weight = 0
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._writers = writers
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, item: T) -> R:
        """The item's result, once its batch is committed.

        Unavailable if too much waits already, or if it could not be written.
        """
        weight = self._weigh(item)
        if len(self._waiting) >= self._bound or self._weight + weight > MAX_WAITING_BYTES:
            raise Unavailable("too much is waiting to be stored; send it again")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._weight += weight
        if len(self._tasks) < self._writers:
            task = asyncio.create_task(self._write_until_empty())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await future
        finally:
            self._weight -= weight
            del item, future  # what it raises would hold this frame, and this frame it

    async def _write_until_empty(self) -> None:
        while self._waiting:
            await self._let_arrive()
            count = min(self._most, len(self._waiting))
            if count:  # another writer may have been quicker
                await self._settle([self._waiting.popleft() for _ in range(count)])

    async def _let_arrive(self) -> None:
        """Whatever is on its way in this very moment goes along: those who were answered together
        ask again together, and a writer that takes the first of them leaves a small batch behind
        every large one."""
        count = 0
        while count < len(self._waiting) < self._most:
            count = len(self._waiting)
            for _ in range(LOOP_PASSES):
                await asyncio.sleep(0)

    async def _settle(
        self, batch: list[tuple[T, asyncio.Future[R]]], *, alone: bool = False
    ) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Unavailable as error:
            cause = repr(error.__cause__)
            log.warning("gather", action="unavailable", items=len(batch), cause=cause)
            _fail(batch, error)
        except Exception:
            if not alone:  # a poisoned member must not fail the others; and a race may be over
                for entry in batch:
                    await self._settle([entry], alone=True)
                return
            log.exception("gather", action="fault")
            _fail(batch, Unavailable())
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(batch: Sequence[tuple[T, "asyncio.Future[R]"]], error: Unavailable) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
