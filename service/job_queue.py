"""Redis: waking workers by publish and subscribe, and reading arq's jobs as plain values.

A wake names kinds of work only: what is due is read from Postgres. A lost wake costs nothing but
time, since a worker looks for work of every kind when it starts to listen, and by a timer.
"""

import asyncio
import contextlib
import io
import pickle
from collections.abc import Callable, Collection
from typing import Any, Self
from urllib.parse import unquote

import structlog
from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.exceptions import RedisError

from service.subjects.domain.work import Work

log = structlog.get_logger()

RETRY_DELAY = 1.0  # seconds between tries to reach Redis
MAX_TIMESTAMP = 10**14  # milliseconds, and tries: the year 5138
REDIS_TIMEOUT = 2.0  # seconds; a Redis that hangs counts as unreachable
REDIS_ERRORS = (RedisError, OSError, TimeoutError)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401
        msg = f"a job may hold plain values only, not {module_name}.{global_name}"
        raise pickle.UnpicklingError(msg)


def read_job(raw: bytes) -> dict[str, Any]:
    """A job as arq pickles it by default, so that any back end can enqueue one. UnpicklingError if
    it is no such job.

    arq's own reader would run whatever code a job names; this one builds plain values only.
    """
    job = _PlainUnpickler(io.BytesIO(raw)).load()
    if not _is_job(job):
        raise pickle.UnpicklingError("this is not a job as arq writes them")
    read: dict[str, Any] = job
    return read


def _is_job(job: object) -> bool:
    """Whether arq's five fields have the right types: arq trusts them, and a wrong one would end
    the worker."""
    if not isinstance(job, dict) or not isinstance(job.get("f"), str):
        return False
    numbers = (job.get("t") or 0, job.get("et"))
    return (
        isinstance(job.get("a"), tuple | list)
        and isinstance(job.get("k"), dict)
        and all(type(number) is int and 0 <= number < MAX_TIMESTAMP for number in numbers)
    )


def wake_channel(queue_name: str) -> str:
    """The channel on which wakes are published: values of Work, with commas between them."""
    return f"{queue_name}:doorbell"


def redis_settings(url: str) -> RedisSettings:
    """The settings of a Redis URL for arq, whose own parser leaves percent-encoding as it is
    (RFC 3986, 2.4). arq is to make no retries: callers decide what a failure means."""
    settings = RedisSettings.from_dsn(url)
    settings.username, settings.password, settings.unix_socket_path = (
        text and unquote(text)
        for text in (settings.username, settings.password, settings.unix_socket_path)
    )
    settings.conn_retries = 0
    settings.conn_timeout = 2
    return settings


class WorkerNotifier:
    """Wakes the loops of all workers. Wakes are gathered and sent by one task, so that no caller
    waits for Redis."""

    def __init__(self, url: str, name: str) -> None:
        """`name` is that of arq's queue; the wake channel is named after it."""
        self.name = name
        self._settings = redis_settings(url)
        self._unsent: set[Work] = set()
        self._has_unsent = asyncio.Event()
        self._listeners: list[Callable[[Work], None]] = []
        self._sender: asyncio.Task[None] | None = None
        self._redis: ArqRedis | None = None
        self._connecting = asyncio.Lock()

    def listen(self, listener: Callable[[Work], None]) -> None:
        """Call `listener` at once with each wake of this process, whatever Redis does."""
        self._listeners.append(listener)

    def wake(self, work: Work) -> None:
        """Say that there may be work of this kind. Returns at once.

        Wakes that gather while earlier ones are sent go out as one message.
        """
        for listener in self._listeners:
            listener(work)
        self._unsent.add(work)
        self._has_unsent.set()

    async def reachable(self) -> bool:
        """Whether wakes can be sent: a message that names no work is published."""
        with contextlib.suppress(*REDIS_ERRORS):
            await self._publish([])
            return True
        return False

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send_wakes())
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._connecting:  # cancelled while it is opened, a connection would leak
            pass
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()

    async def _publish(self, work: Collection[Work]) -> None:
        async with asyncio.timeout(REDIS_TIMEOUT):
            redis = await self._connected()
            await redis.publish(wake_channel(self.name), ",".join(work))

    async def _connected(self) -> ArqRedis:
        async with self._connecting:  # else each caller would open a pool of its own
            if self._redis is None:
                self._redis = await create_pool(self._settings, default_queue_name=self.name)
            return self._redis

    async def _send_wakes(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            unsent, self._unsent = self._unsent, set()
            try:
                await self._publish(unsent)
            except REDIS_ERRORS as error:
                # Dropped: the sweeps find the work, and a backlog of wakes would help nobody.
                log.warning("worker_notifier", action="wake_lost", error=type(error).__name__)
                await asyncio.sleep(RETRY_DELAY)
