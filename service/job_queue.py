"""Redis, from which arq's jobs are taken: whether it can be reached, reading a job as plain values,
and the last moment of an installation, which is noted there."""

import asyncio
import io
import pickle
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from arq.connections import RedisSettings, create_pool
from redis.exceptions import RedisError

from service.kit.timestamps import format_rfc3339, parse_rfc3339

MAX_TIMESTAMP = 10**14  # milliseconds, and tries: the year 5138
REDIS_TIMEOUT = 2.0  # seconds; a Redis that hangs counts as unreachable
REDIS_ERRORS = (RedisError, OSError, TimeoutError)
MOMENT_KEY = "callsheet:moment:"  # and the installation's id
MOMENT_KEPT = timedelta(days=400)  # longer than backups are kept
MAX_MOMENT = 40  # characters that are read of a moment


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


async def reachable(url: str, name: str) -> bool:
    """Whether jobs can be taken from the queue of this name: it is looked at, on a connection of
    its own."""
    try:
        async with asyncio.timeout(REDIS_TIMEOUT):
            async with await create_pool(redis_settings(url)) as redis:
                await redis.zcard(name)
    except REDIS_ERRORS:
        return False
    return True


async def read_moment(url: str, installation_id: str) -> datetime | None:
    """The moment that was noted last of this installation; None if none was. One of REDIS_ERRORS if
    it cannot be read."""
    async with asyncio.timeout(REDIS_TIMEOUT):
        async with await create_pool(redis_settings(url)) as redis:
            read = await redis.getrange(MOMENT_KEY + installation_id, 0, MAX_MOMENT)
    return parse_rfc3339(read.decode(errors="replace"))


async def write_moment(url: str, installation_id: str, moment: datetime) -> None:
    """Note a moment of this installation. One of REDIS_ERRORS if it cannot be written."""
    async with asyncio.timeout(REDIS_TIMEOUT):
        async with await create_pool(redis_settings(url)) as redis:
            await redis.set(
                MOMENT_KEY + installation_id, format_rfc3339(moment) or "", ex=MOMENT_KEPT
            )
