"""Large request bodies: spooled to disk as they come, and loaded into memory one at a time.

So the memory of a process does not grow with the number of clients: a body that is coming takes a
piece or two, one that waits a file, and MAX_LOADED bodies take what parsing and validating needs.
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
from starlette.types import Receive

from service.kit.concurrency.fair_semaphore import FairSemaphore
from service.kit.concurrency.limiter import Limiter
from service.kit.errors import Malformed, TooLarge, Unavailable
from service.kit.http.body import BodyReader, parse_json, require_json
from service.kit.http.headers import combined_headers
from service.kit.http.request import Request

log = structlog.get_logger()

MAX_IN_MEMORY = 64_000  # bytes; a body of no more is neither spooled nor handled in a thread
MAX_SPOOLED = 128  # bodies on disk at once, in one process; at 53 MB each 6.8 GB in all
MAX_SPOOLED_PER_OWNER = 56  # of them; slow senders leave places to the others
MAX_LOADED = 1  # large bodies in memory at once; a second gains little, as parsing holds the GIL
MAX_JSON_VALUES = 100_000  # in a large body; `[],[],…` takes 30 times its size in memory
SCAN_STEP = 1 << 20  # bytes scanned at a time, so that other threads get their turn
VALUE_STARTS = (b",", b"[", b"{")  # none of them occurs in Base64

T = TypeVar("T")


class Body:
    """A body that has come whole. While it is in use a large one holds a slot of those loaded."""

    def __init__(self, content: bytearray | io.FileIO, threads: Executor) -> None:
        self._content = content
        self._threads = threads

    @property
    def large(self) -> bool:
        """Whether the body is on disk."""
        return isinstance(self._content, io.FileIO)

    async def apply(self, function: Callable[[Any], T]) -> T:
        """The result of the function for the JSON value, computed in a thread if the body is large.
        To be called once.

        Raises what the function raises, Malformed if the body is not JSON, TooLarge if it has too
        many values, Unavailable if the disk fails.
        """
        content = self._content
        if isinstance(content, io.FileIO):
            return await _run_in_thread(self._threads, lambda: function(parse_json(_load(content))))
        return function(parse_json(content))


class LargeBodyReader:
    """Reads the bodies of one process, within its bounds for memory and disk."""

    def __init__(self, max_loaded: int = MAX_LOADED, spool_slots: Limiter | None = None) -> None:
        self._loading = FairSemaphore(max_loaded)
        # Always the same threads: the memory that one has freed is not free for another at once.
        self._threads = ThreadPoolExecutor(max_loaded, "bodies")
        self.spool_slots = spool_slots or Limiter(MAX_SPOOLED, MAX_SPOOLED_PER_OWNER)

    @asynccontextmanager
    async def read(
        self, receive: Receive, headers: Mapping[str, str], limit: int, owner: str
    ) -> AsyncIterator[Body]:
        """A JSON body of at most `limit` bytes, whole; a large one, once its owner has a slot to
        load it, which is held to the end of the context.

        UnsupportedMedia, TooLarge, Malformed if it broke off; Unavailable if too many are on disk
        already, or the disk fails. How long a body may take is bounded in `connection_limits.py`.
        """
        require_json(headers)
        reader = BodyReader(receive, headers, limit)
        first = await reader.read(MAX_IN_MEMORY + 1)
        if len(first) <= MAX_IN_MEMORY:
            yield Body(first, self._threads)
            return
        with self.spool_slots.slot(owner), _temporary_file() as file:
            await _append(file, first)
            del first
            while not reader.complete:
                await _append(file, await reader.read(MAX_IN_MEMORY))
            async with self._loading_slot(receive, owner):
                yield Body(file, self._threads)

    @asynccontextmanager
    async def _loading_slot(self, receive: Receive, owner: str) -> AsyncIterator[None]:
        """A slot to load a body; Malformed if the client leaves before there is one."""
        turn = self._loading.acquire(owner)
        leaving = asyncio.ensure_future(receive())  # after a whole body nothing else can come
        try:
            await asyncio.wait((turn, leaving), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not turn.done():
                raise Malformed("The client disconnected.")
            yield
        finally:
            leaving.cancel()
            self._loading.release(turn)


def read(request: Request, limit: int, owner: str) -> contextlib.AbstractAsyncContextManager[Body]:
    """The body of a request, read by the LargeBodyReader of its application."""
    bodies: LargeBodyReader = request.app.state.bodies
    return bodies.read(request.receive, combined_headers(request.scope["headers"]), limit, owner)


@contextmanager
def _temporary_file() -> Iterator[io.FileIO]:
    """A file without a name, which is gone once it is closed, or the process ends."""
    with ExitStack() as stack:
        with _unavailable_if_disk_fails():
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        yield file


@contextmanager
def _unavailable_if_disk_fails() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("web", action="body_not_spooled", error=str(error))  # noqa: TRY400 - the disk is full, mostly
        raise Unavailable from None


async def _append(file: io.FileIO, data: bytearray) -> None:
    await _run_in_thread(None, lambda: _write_all(file, data))


def _write_all(file: io.FileIO, data: bytearray) -> None:
    with _unavailable_if_disk_fails(), memoryview(data) as view:
        written = 0
        while written < len(view):
            written += file.write(view[written:])


def _load(file: io.FileIO) -> bytes:
    """All bytes of the file; TooLarge if they hold more than MAX_JSON_VALUES values."""
    with _unavailable_if_disk_fails():
        file.seek(0)
        raw = file.readall()
    values = 0
    for at in range(0, len(raw), SCAN_STEP):
        values += sum(raw.count(start, at, at + SCAN_STEP) for start in VALUE_STARTS)
        if values > MAX_JSON_VALUES:
            raise TooLarge(
                f"The body must have at most {MAX_JSON_VALUES} values, and as many commas."
            )
    return raw


@dataclass(frozen=True, slots=True)
class _Captured:
    error: Exception  # that `work` raised


async def _run_in_thread(threads: Executor | None, work: Callable[[], T]) -> T:
    """The result of `work`, done in one of these threads, or for None in any. If it is cancelled it
    waits all the same: the file is in use."""
    future = asyncio.get_running_loop().run_in_executor(threads, _capture, work)
    try:
        outcome = await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait((future,))
        raise
    if not isinstance(outcome, _Captured):
        return outcome
    try:
        raise outcome.error
    finally:
        del outcome, future  # each refers to the error, and the error to this frame


def _capture(work: Callable[[], T]) -> T | _Captured:
    """The result of `work`, or the error that it raised, without what the frames of its traceback
    held: they form a cycle with the future, and would live until the garbage collector runs."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - raised again by the one who waits
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__context__
        return _Captured(error)
