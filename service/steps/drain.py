"""A drain: claims what is due and acts on it, at most so many at a time, until nothing is due."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from service.core.errors import Unavailable

log = structlog.get_logger()

BUSY = 4  # a drain is busy from a quarter of its width on
FEW = 8  # a claim costs as much as some pieces do: one is made for an eighth of the width at least
PAUSE = 1.0  # seconds after a claim that failed: the database may need a moment
LONG = 0.25  # seconds after which a piece of work may be set aside

T = TypeVar("T")


class Drain(Generic[T]):
    """`claim(n)` takes at most n pieces of work under a lease; `act` does one of them.

    What `act` could not finish is left to its lease, which nobody renews then: whoever comes next
    takes it up. As many as `aside` pieces that take long are set aside, and hold no place any more:
    they only wait for somebody, and would keep those waiting who are quick.
    """

    def __init__(
        self,
        name: str,
        claim: Callable[[int], Awaitable[Sequence[T]]],
        act: Callable[[T], Awaitable[None]],
        width: int,
        *,
        aside: int = 0,
    ) -> None:
        self.name = name
        self._claim = claim
        self._act = act
        self._width = width
        self._most_aside = aside
        self._acting: dict[asyncio.Task[None], T] = {}
        self._aside: dict[asyncio.Task[None], T] = {}
        self._rung = asyncio.Event()
        self._freed = asyncio.Event()
        self._stopping = False

    @property
    def under_way(self) -> list[T]:
        """The pieces that are acted on at this moment."""
        return [*self._acting.values(), *self._aside.values()]

    def ring(self) -> None:
        """There may be work."""
        self._rung.set()

    def stop(self) -> None:
        """Claim nothing more. A claim that is under way is still acted on."""
        self._stopping = True
        self._rung.set()
        self._freed.set()

    async def run(self, tick: float) -> None:
        """Drain whenever rung, and every `tick` seconds in case a ring was lost; until `stop`."""
        while not self._stopping:
            self._rung.clear()
            try:
                await self.drain()
            except Unavailable as error:
                log.warning("drain", action="unavailable", drain=self.name, error=error.reason)
                await asyncio.sleep(PAUSE)
            except Exception:  # in claiming: nothing was taken, and the next try may go better
                log.exception("drain", action="fault", drain=self.name)
                await asyncio.sleep(PAUSE)
            try:
                async with asyncio.timeout(tick):
                    await self._rung.wait()
            except TimeoutError:
                pass

    async def drain(self) -> None:
        """Claim and start until nothing is due; the last pieces may still be under way."""
        while not self._stopping:
            free = await self._places()
            if not free:
                return
            claimed = await self._claim(free)
            for piece in claimed:
                task = asyncio.create_task(self._safely(piece))
                self._acting[task] = piece
                task.add_done_callback(self._ended)
                if self._most_aside:
                    asyncio.get_running_loop().call_later(LONG, self._set_aside, task)
            if len(claimed) * FEW < free:
                return

    async def finish(self, seconds: float) -> None:
        """Let what is under way end, for so long; then cut it off, and its leases run out."""
        if tasks := [*self._acting, *self._aside]:
            _, unfinished = await asyncio.wait(tasks, timeout=seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _places(self) -> int:
        """How many pieces may be started now, once these are enough for a claim; 0 at the end."""
        enough = max(1, self._width // FEW)
        while (free := self._width - len(self._acting)) < enough and not self._stopping:
            self._freed.clear()
            await self._freed.wait()
        return 0 if self._stopping else free

    def _set_aside(self, task: asyncio.Task[None]) -> None:
        if task in self._acting and len(self._aside) < self._most_aside:
            self._aside[task] = self._acting.pop(task)
            self._freed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What ends in a busy drain may make place for work that a claim had to pass over."""
        if len(self._acting) * BUSY >= self._width or task in self._aside:
            self._rung.set()
        self._acting.pop(task, None)
        self._aside.pop(task, None)
        self._freed.set()

    async def _safely(self, piece: T) -> None:
        try:
            await self._act(piece)
        except Unavailable as error:
            log.warning("drain", action="unrecorded", drain=self.name, error=error.reason)
        except Exception:  # a fault of ours in one piece must not stop the others
            log.exception("drain", action="fault", drain=self.name)
