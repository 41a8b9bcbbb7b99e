"""The pool: which connections stay in it, and who has the next."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncpg
import orjson

from service.kit.database.connect import CONNECT_TIMEOUT, connect
from service.kit.database.connection import Connection
from service.kit.database.errors import DRIVER_ERRORS, translate_connect_errors

COMMAND_TIMEOUT: Final = 45.0  # seconds; Postgres itself should have given up before


@dataclass(frozen=True, slots=True)
class PoolTimeouts:
    """What connections may cost, in seconds."""

    acquire: float = 10.0  # for one that is free, before a request is told to come back
    connect: float = CONNECT_TIMEOUT  # to open one, at each host
    check_after: float = 5.0  # of idling: then it is asked whether it still lives
    check: float = 2.0  # for the answer to that, and for the good-bye
    max_age: float = 1800.0  # until it is replaced


class Pool:
    """At most `size` connections, with these settings of the server's, had in the order in which
    they are asked for."""

    def __init__(self, url: str, size: int, bounds: PoolTimeouts, **settings: str) -> None:
        self._bounds = bounds
        self._connect = partial(
            connect, url, timeout=bounds.connect, command_timeout=COMMAND_TIMEOUT, **settings
        )
        self._turns = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []  # last in, first out: few stay warm
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the caller alone. Unavailable, if none is had in time."""
        async with AsyncExitStack() as stack:
            with translate_connect_errors():
                async with asyncio.timeout(self._bounds.acquire):
                    await stack.enter_async_context(self._turns)
                driver = await self._take()
            try:
                yield Connection(driver)
            finally:
                self._put_back(driver)

    async def close(self) -> None:
        """End all connections; one that is in use, when it is put back."""
        self._closed = True
        while self._idle:
            with suppress(*DRIVER_ERRORS):  # then it is ended without a good-bye
                await self._idle.pop().close(timeout=self._bounds.check)

    async def _take(self) -> asyncpg.Connection:
        if self._idle:
            driver = self._idle.pop()
            if await self._lives(driver):
                return driver
        driver = await self._connect()
        for kind in ("json", "jsonb"):
            await driver.set_type_codec(
                kind,
                schema="pg_catalog",
                encoder=lambda value: orjson.dumps(value).decode(),
                decoder=orjson.loads,
            )
        return driver

    async def _lives(self, driver: asyncpg.Connection) -> bool:
        """Whether one that was idle may be used again; else it is ended."""
        now = time.monotonic()
        try:
            if now - driver.opened_at >= self._bounds.max_age:
                await driver.close(timeout=self._bounds.check)
            elif now - driver.idle_since >= self._bounds.check_after:
                await driver.execute("SELECT 1", timeout=self._bounds.check)
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
