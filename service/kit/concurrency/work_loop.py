"""A work loop: claims what is due under a lease and handles it, so much at a time at most."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from service.kit.errors import Unavailable

log = structlog.get_logger()

BUSY_SHARE = 4  # a loop is busy from a quarter of its concurrency on
CLAIM_SHARE = (
    8  # a claim costs as much as some pieces: it is made for an eighth of the concurrency at least
)
ERROR_PAUSE = 1.0  # seconds after a claim that failed: the database may need a moment
DETACH_AFTER = 0.25  # seconds after which a piece of work may be detached

T = TypeVar("T")


class WorkLoop(Generic[T]):
    """`claim(n)` takes at most n pieces of work under a lease; `handle` does one of them.

    `concurrency` pieces are handled at a time. What `handle` could not finish is left to its lease,
    which nobody renews then: whoever claims next takes it up. At most `detached` pieces that take
    long do not count towards `concurrency` any more: they only wait for somebody, and would keep
    quick ones waiting.
    """

    def __init__(
        self,
        name: str,
        claim: Callable[[int], Awaitable[Sequence[T]]],
        handle: Callable[[T], Awaitable[None]],
        concurrency: int,
        *,
        detached: int = 0,
    ) -> None:
        self.name = name
        self._claim = claim
        self._handle = handle
        self._concurrency = concurrency
        self._most_detached = detached
        self._handling: dict[asyncio.Task[None], T] = {}
        self._detached: dict[asyncio.Task[None], T] = {}
        self._notified = asyncio.Event()
        self._freed = asyncio.Event()
        self._stopping = False

    @property
    def in_progress(self) -> list[T]:
        """The pieces that are handled at this moment."""
        return [*self._handling.values(), *self._detached.values()]

    def notify(self) -> None:
        """There may be work."""
        self._notified.set()

    def stop(self) -> None:
        """Claim nothing more. A claim that is under way is still handled."""
        self._stopping = True
        self._notified.set()
        self._freed.set()

    async def run(self, tick: float) -> None:
        """Drain when notified, and every `tick` seconds in case a notice was lost; until `stop`."""
        while not self._stopping:
            self._notified.clear()
            try:
                await self.drain()
            except Unavailable as error:
                log.warning("drain", action="unavailable", drain=self.name, error=error.reason)
                await asyncio.sleep(ERROR_PAUSE)
            except Exception:  # in claiming: nothing was taken, and the next try may go better
                log.exception("drain", action="fault", drain=self.name)
                await asyncio.sleep(ERROR_PAUSE)
            try:
                async with asyncio.timeout(tick):
                    await self._notified.wait()
            except TimeoutError:
                pass

    async def drain(self) -> None:
        """Claim and start until nothing is due; the last pieces may still be under way."""
        while not self._stopping:
            free = await self._free_slots()
            if not free:
                return
            claimed = await self._claim(free)
            for piece in claimed:
                task = asyncio.create_task(self._handle_safely(piece))
                self._handling[task] = piece
                task.add_done_callback(self._ended)
                if self._most_detached:
                    asyncio.get_running_loop().call_later(DETACH_AFTER, self._detach, task)
            if len(claimed) * CLAIM_SHARE < free:
                return

    async def finish(self, seconds: float) -> None:
        """Let what is under way end, for so long; then cut it off, and its leases run out."""
        if tasks := [*self._handling, *self._detached]:
            _, unfinished = await asyncio.wait(tasks, timeout=seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _free_slots(self) -> int:
        """How many pieces may be started now, once these are enough for a claim; 0 at the end."""
        enough = max(1, self._concurrency // CLAIM_SHARE)
        while (free := self._concurrency - len(self._handling)) < enough and not self._stopping:
            self._freed.clear()
            await self._freed.wait()
        return 0 if self._stopping else free

    def _detach(self, task: asyncio.Task[None]) -> None:
        if task in self._handling and len(self._detached) < self._most_detached:
            self._detached[task] = self._handling.pop(task)
            self._freed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What ends in a busy loop may make place for work that a claim had to pass over."""
        if len(self._handling) * BUSY_SHARE >= self._concurrency or task in self._detached:
            self._notified.set()
        self._handling.pop(task, None)
        self._detached.pop(task, None)
        self._freed.set()

    async def _handle_safely(self, piece: T) -> None:
        try:
            await self._handle(piece)
        except Unavailable as error:
            log.warning("drain", action="unrecorded", drain=self.name, error=error.reason)
        except Exception:  # a fault of ours in one piece must not stop the others
            log.exception("drain", action="fault", drain=self.name)
