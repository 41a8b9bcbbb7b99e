"""The pool: which connections stay in it, and who has the next."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import asyncpg
import orjson

from service.store.connect import CONNECT_TIMEOUT, connect
from service.store.connection import Connection
from service.store.driver_errors import DRIVER_ERRORS, opening

COMMAND_TIMEOUT: Final = 45.0  # seconds; Postgres itself should have given up before


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections may cost, in seconds."""

    wait: float = 10.0  # for one that is free, before a request is told to come back
    connect: float = CONNECT_TIMEOUT  # to open one, at each host
    check_after: float = 5.0  # of idling: then it is asked whether it still lives
    check: float = 2.0  # for the answer to that, and for the good-bye
    age: float = 1800.0  # until it is replaced


@dataclass(slots=True)
class _Session:
    """An open connection; both times are of the monotonic clock, in seconds."""

    driver: asyncpg.Connection
    opened_at: float = field(default_factory=time.monotonic)
    idle_since: float = 0.0


class Pool:
    """At most `size` connections, with these settings of the server's, had in the order in which
    they are asked for."""

    def __init__(self, url: str, size: int, bounds: Bounds, **settings: str) -> None:
        self._bounds = bounds
        self._connect = partial(
            connect, url, timeout=bounds.connect, command_timeout=COMMAND_TIMEOUT, **settings
        )
        self._turns = asyncio.Semaphore(size)
        self._idle: list[_Session] = []  # the last one in is the first one out: few stay warm
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the caller alone. Unavailable, if none is had in time."""
        async with AsyncExitStack() as stack:
            with opening():
                async with asyncio.timeout(self._bounds.wait):
                    await stack.enter_async_context(self._turns)
                session = await self._take()
            try:
                yield Connection(session.driver)
            finally:
                self._put_back(session)

    async def close(self) -> None:
        """End all connections; one that is in use, when it is put back."""
        self._closed = True
        while self._idle:
            await self._end(self._idle.pop())

    async def _take(self) -> _Session:
        if self._idle:
            session = self._idle.pop()
            if await self._lives(session):
                return session
        driver = await self._connect()
        for kind in ("json", "jsonb"):
            await driver.set_type_codec(
                kind,
                schema="pg_catalog",
                encoder=lambda value: orjson.dumps(value).decode(),
                decoder=orjson.loads,
            )
        return _Session(driver)

    def _put_back(self, session: _Session) -> None:
        if self._closed:
            session.driver.terminate()
        elif not session.driver.is_closed():
            session.idle_since = time.monotonic()
            self._idle.append(session)

    async def _lives(self, session: _Session) -> bool:
        """Whether a session that nobody used for a while may be used again; else it is ended."""
        now, driver = time.monotonic(), session.driver
        if now - session.opened_at >= self._bounds.age:
            await self._end(session)
        elif now - session.idle_since >= self._bounds.check_after:
            try:
                await driver.execute("SELECT 1", timeout=self._bounds.check)
            except BaseException as error:
                driver.terminate()
                if not isinstance(error, DRIVER_ERRORS):
                    raise
        return not driver.is_closed()

    async def _end(self, session: _Session) -> None:
        try:
            await session.driver.close(timeout=self._bounds.check)
        except DRIVER_ERRORS:
            session.driver.terminate()
