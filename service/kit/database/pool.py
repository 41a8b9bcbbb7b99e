"""A connection pool: which connections stay open, and who has the next one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncpg
import orjson

from service.kit.database.connect import CONNECT_TIMEOUT, connect
from service.kit.database.connection import Connection
from service.kit.database.errors import DRIVER_ERRORS
from service.kit.errors import Unavailable
from service.kit.metrics import POOL_WAIT

COMMAND_TIMEOUT: Final = 45.0  # seconds; Postgres itself should have given up before


@dataclass(frozen=True, slots=True)
class PoolTimeouts:
    """The time-outs of a pool, in seconds."""

    acquire: float = 10.0  # to get a connection
    connect: float = CONNECT_TIMEOUT  # to open one, at each host
    check_after: float = 5.0  # an idle connection is checked before it is used again
    check: float = 2.0  # for the answer to a check, and for closing
    max_age: float = 1800.0  # then a connection is replaced


class Pool:
    """At most `size` connections, whose sessions have these settings. Who waits for one gets it in
    the order of asking."""

    def __init__(self, url: str, size: int, timeouts: PoolTimeouts, **settings: str) -> None:
        self._timeouts = timeouts
        self._connect = partial(
            connect, url, timeout=timeouts.connect, command_timeout=COMMAND_TIMEOUT, **settings
        )
        self._slots = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []  # last in, first out: so few stay in use
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the caller alone; Unavailable if there is none in time."""
        await self._take_slot()
        try:
            driver = await self._idle_or_new()
            try:
                yield Connection(driver)
            finally:
                self._put_back(driver)
        finally:
            self._slots.release()

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()  # without a wait, which needs no time-out
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeouts.acquire):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable from error
        finally:
            POOL_WAIT.observe(time.monotonic() - began)

    async def close(self) -> None:
        """Close all connections; one that is in use is ended when it is put back."""
        self._closed = True
        while self._idle:
            with suppress(*DRIVER_ERRORS):  # then it is ended without a message
                await self._idle.pop().close(timeout=self._timeouts.check)

    async def _idle_or_new(self) -> asyncpg.Connection:
        try:
            if self._idle and await self._is_usable(driver := self._idle.pop()):
                return driver
            return await self._new()
        except DRIVER_ERRORS as error:
            raise Unavailable from error

    async def _new(self) -> asyncpg.Connection:
        driver = await self._connect()
        for kind in ("json", "jsonb"):
            await driver.set_type_codec(
                kind,
                schema="pg_catalog",
                encoder=lambda value: orjson.dumps(value).decode(),
                decoder=orjson.loads,
            )
        return driver

    async def _is_usable(self, driver: asyncpg.Connection) -> bool:
        """Whether an idle connection may be used again; else it is ended."""
        now = time.monotonic()
        try:
            if now - driver.opened_at >= self._timeouts.max_age:
                await driver.close(timeout=self._timeouts.check)
            elif now - driver.idle_since >= self._timeouts.check_after:
                await driver.execute("SELECT 1", timeout=self._timeouts.check)
        except BaseException as error:
            driver.terminate()
            if not isinstance(error, DRIVER_ERRORS):
                raise
        return not driver.is_closed()

    def _put_back(self, driver: asyncpg.Connection) -> None:
        if self._closed:
            driver.terminate()
        elif not driver.is_closed():
            driver.idle_since = time.monotonic()
            self._idle.append(driver)
