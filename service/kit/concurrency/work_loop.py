"""A work loop: claims due work under a lease and handles it, so many items at a time at most."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from service.kit.errors import Unavailable

log = structlog.get_logger()

BUSY_SHARE = 4  # a loop is busy if at least a quarter of its concurrency is in use
CLAIM_SHARE = 8  # a claim is made for at least an eighth of the concurrency: claims are costly
ERROR_PAUSE = 1.0  # seconds after a claim that failed: the database may need a moment
DETACH_AFTER = 0.25  # seconds after which an item may be detached

T = TypeVar("T")


class WorkLoop(Generic[T]):
    """Claims items by `claim(n)`, which takes at most n of them under a lease, and does each by
    `handle`, at most `concurrency` at a time. `handle` may say whether it is time to claim others
    by that; None: it does not know.

    An item that `handle` could not finish is left to its lease, which is not renewed any more: then
    it is claimed again. At most `detached` items that take longer than DETACH_AFTER do not count
    towards `concurrency`: they mostly wait for an answer, and would keep quick ones waiting.
    """

    def __init__(
        self,
        name: str,
        claim: Callable[[int], Awaitable[Sequence[T]]],
        handle: Callable[[T], Awaitable[bool | None]],
        concurrency: int,
        *,
        detached: int = 0,
    ) -> None:
        self.name = name
        self._claim = claim
        self._handle = handle
        self._concurrency = concurrency
        self._max_detached = detached
        self._handling: dict[asyncio.Task[bool | None], T] = {}
        self._detached: dict[asyncio.Task[bool | None], T] = {}
        self._notified = asyncio.Event()
        self._freed = asyncio.Event()
        self._stopping = False

    @property
    def in_progress(self) -> list[T]:
        """The items that are being handled."""
        return [*self._handling.values(), *self._detached.values()]

    def notify(self) -> None:
        """Say that there may be work."""
        self._notified.set()

    def stop(self) -> None:
        """Claim nothing more. What a claim under way brings is still handled."""
        self._stopping = True
        self._notified.set()
        self._freed.set()

    async def run(self, interval: float) -> None:
        """Drain when notified, and every `interval` seconds in case a notification was lost, until
        `stop`."""
        while not self._stopping:
            self._notified.clear()
            try:
                await self.drain()
            except Unavailable as error:
                log.warning("work_loop", action="unavailable", loop=self.name, error=error.reason)
                await asyncio.sleep(ERROR_PAUSE)
            except Exception:  # of a claim: nothing was taken, and the next one may succeed
                log.exception("work_loop", action="fault", loop=self.name)
                await asyncio.sleep(ERROR_PAUSE)
            try:
                async with asyncio.timeout(interval):
                    await self._notified.wait()
            except TimeoutError:
                pass

    async def drain(self) -> None:
        """Claim items and start them until none is due; the last ones may still be in progress."""
        while not self._stopping:
            free = await self._free_slots()
            if not free:
                return
            claimed = await self._claim(free)
            started = {asyncio.create_task(self._handle_safely(item)): item for item in claimed}
            self._handling |= started
            for task in started:
                task.add_done_callback(self._ended)
            if started and self._max_detached:
                asyncio.get_running_loop().call_later(DETACH_AFTER, self._detach, [*started])
            if len(claimed) * CLAIM_SHARE < free:
                return

    async def finish(self, seconds: float) -> None:
        """Give what is in progress so many seconds to end, then cancel it: its leases run out."""
        if tasks := [*self._handling, *self._detached]:
            _, unfinished = await asyncio.wait(tasks, timeout=seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _free_slots(self) -> int:
        """How many items may be started, once these are enough for a claim; 0 after `stop`."""
        enough = max(1, self._concurrency // CLAIM_SHARE)
        while (free := self._concurrency - len(self._handling)) < enough and not self._stopping:
            self._freed.clear()
            await self._freed.wait()
        return 0 if self._stopping else free

    def _detach(self, tasks: Sequence[asyncio.Task[bool | None]]) -> None:
        for task in tasks:
            if task in self._handling and len(self._detached) < self._max_detached:
                self._detached[task] = self._handling.pop(task)
                self._freed.set()

    def _ended(self, task: asyncio.Task[bool | None]) -> None:
        """In a busy loop the end of an item may make room for work that a claim passed over, unless
        its handler knows better."""
        others_due = None if task.cancelled() else task.result()
        if others_due is None:
            others_due = len(self._handling) * BUSY_SHARE >= self._concurrency
        if others_due:
            self._notified.set()
        self._handling.pop(task, None)
        self._detached.pop(task, None)
        self._freed.set()

    async def _handle_safely(self, item: T) -> bool | None:
        try:
            return await self._handle(item)
        except Unavailable as error:
            log.warning(
                "work_loop", action="result_not_recorded", loop=self.name, error=error.reason
            )
        except Exception:  # a fault of ours in one item must not stop the others
            log.exception("work_loop", action="fault", loop=self.name)
        return None
