"""Reading bodies that may be large: on disk as they come, and in memory only a few at a time.

So what a process needs does not grow with how many send at once: each reading request holds a
piece or two, each waiting one a file, and HEAVY of them what parsing and checking a body takes.
"""

import asyncio
import contextlib
import io
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.types import Receive

from service.kit.concurrency.fair_semaphore import FairSemaphore
from service.kit.concurrency.limiter import Limiter
from service.kit.errors import Malformed, TooLarge, Unavailable
from service.kit.http.body import BodyReader, parse_json, require_json
from service.kit.http.headers import combined_headers

log = structlog.get_logger()

MAX_IN_MEMORY = 64_000  # bytes; a body of no more is kept in memory, and read where it arrives
MAX_SPOOLED = 128  # bodies on disk at once, in one process; at 53 MB each 6.8 GB in all
MAX_SPOOLED_PER_ACCOUNT = 56  # of them; who sends slowly leaves places to the others
MAX_LOADED = (
    1  # large bodies in memory at once; parsing holds the interpreter, so a second gains little
)
MAX_JSON_VALUES = (
    100_000  # in a large body; a batch of 100 has 30,000, and `[],[],…` takes 30 times
)
SCAN_STEP = 1 << 20  # bytes looked through at a time, so that other threads get their turn
VALUE_STARTS = (b",", b"[", b"{")  # none of them is in Base64

T = TypeVar("T")


class Body:
    """One body that has come whole. If it is `large`, a place is held for what is made of it."""

    def __init__(self, held: bytearray | io.FileIO, threads: Executor) -> None:
        self._held = held
        self._threads = threads

    @property
    def large(self) -> bool:
        return isinstance(self._held, io.FileIO)

    async def apply(self, make: Callable[[Any], T]) -> T:
        """What `make` makes of the JSON value, in a thread if the body is large; to be called once.

        Raises what it raises, Malformed if this is not JSON, Unavailable if the disk fails.
        """
        held = self._held
        if isinstance(held, io.FileIO):
            return await _run_in_thread(self._threads, lambda: make(parse_json(_load(held))))
        return make(parse_json(held))


class LargeBodyReader:
    """The places of one process: of large bodies in memory, and of those on disk."""

    def __init__(self, heavy: int = MAX_LOADED, disk: Limiter | None = None) -> None:
        self._turns = FairSemaphore(heavy)
        # Always the same: what a thread has freed is not at once another's, nor the system's.
        self._threads = ThreadPoolExecutor(heavy, "bodies")
        self.spool_slots = disk or Limiter(MAX_SPOOLED, MAX_SPOOLED_PER_ACCOUNT)

    @asynccontextmanager
    async def read(
        self, receive: Receive, headers: Mapping[str, str], limit: int, account_id: str
    ) -> AsyncIterator[Body]:
        """A body of at most `limit` bytes; its place, if it is large, is held to the block's end.

        UnsupportedMedia, TooLarge, Malformed if it broke off; Unavailable if too many are on disk
        already, or the disk takes no more. How long it may take to come: protocol.py.
        """
        require_json(headers)
        incoming = BodyReader(receive, headers, limit)
        first = await incoming.read(MAX_IN_MEMORY + 1)
        if len(first) <= MAX_IN_MEMORY:
            yield Body(first, self._threads)
            return
        with self.spool_slots.slot(account_id), _temporary_file() as file:
            await _append(file, first)
            del first
            while not incoming.complete:
                await _append(file, await incoming.read(MAX_IN_MEMORY))
            async with self._place(receive, account_id):
                yield Body(file, self._threads)

    @asynccontextmanager
    async def _place(self, receive: Receive, account_id: str) -> AsyncIterator[None]:
        """Waited for no longer than the client does."""
        turn = self._turns.acquire(account_id)
        leaving = asyncio.ensure_future(receive())  # of a body that is whole nothing else can come
        try:
            await asyncio.wait((turn, leaving), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not turn.done():
                raise Malformed("the client went away")
            yield
        finally:
            leaving.cancel()
            self._turns.release(turn)


def read(
    request: Request, limit: int, account_id: str
) -> contextlib.AbstractAsyncContextManager[Body]:
    """Bodies.read of the application that this request came to."""
    bodies: LargeBodyReader = request.app.state.bodies
    return bodies.read(
        request.receive, combined_headers(request.scope["headers"]), limit, account_id
    )


@contextmanager
def _temporary_file() -> Iterator[io.FileIO]:
    """A file without a name, which is gone when it is closed, or the process ends."""
    with ExitStack() as stack:
        with _unavailable_if_disk_fails():
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        yield file


@contextmanager
def _unavailable_if_disk_fails() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("web", action="body_not_spooled", error=str(error))  # noqa: TRY400 - full, mostly
        raise Unavailable from None


async def _append(file: io.FileIO, data: bytearray) -> None:
    await _run_in_thread(None, lambda: _write_all(file, data))


def _write_all(file: io.FileIO, data: bytearray) -> None:
    with _unavailable_if_disk_fails(), memoryview(data) as left:
        at = 0
        while at < len(left):
            at += file.write(left[at:])


def _load(file: io.FileIO) -> bytes:
    """All of it; TooLarge if its values, and not its texts, make it so."""
    with _unavailable_if_disk_fails():
        file.seek(0)
        raw = file.readall()
    values = 0
    for at in range(0, len(raw), SCAN_STEP):
        values += sum(raw.count(mark, at, at + SCAN_STEP) for mark in VALUE_STARTS)
        if values > MAX_JSON_VALUES:
            raise TooLarge(f"at most {MAX_JSON_VALUES} values, and as many commas")
    return raw


@dataclass(frozen=True, slots=True)
class _Captured:
    error: Exception


async def _run_in_thread(threads: Executor | None, work: Callable[[], T]) -> T:
    """In one of these threads, or in any. Cancelled, it waits all the same: the file is in use."""
    running = asyncio.get_running_loop().run_in_executor(threads, _capture, work)
    try:
        done = await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
    if not isinstance(done, _Captured):
        return done
    try:
        raise done.error
    finally:
        del done, running  # each leads to the error, and the error to this frame


def _capture(work: Callable[[], T]) -> T | _Captured:
    """An error is given back, without what its frames held: they live as long as it does, and the
    future that it would be set on, which they lead to, until the collector runs."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - raised again by who waits
        link: BaseException | None = error
        while link is not None:
            traceback.clear_frames(link.__traceback__)
            link = link.__context__
        return _Captured(error)
