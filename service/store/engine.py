"""The pool: which sessions stay in it, and which of their errors pass."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
import orjson
from sqlalchemy import event
from sqlalchemy.engine import AdaptedConnection, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from service.core.errors import TABLES_MISSING, Unavailable
from service.store.connect import CONNECT_TIMEOUT, connect

DIALECT: Final = "postgresql+asyncpg://"
COMMAND_TIMEOUT: Final = 45.0  # seconds; Postgres itself should have given up before
IDLE_SINCE: Final = "idle since"

DRIVER_ERRORS: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    OSError,  # and with it TimeoutError
)
BROKEN: Final = (OSError, asyncpg.InternalClientError)  # cut off in the midst of something
# Postgres error codes and classes that say "not now": connection, log-in, no such database (yet),
# resources, operator, system, lock time-out, deadlock, a session ended for idling, a plan that a
# migration has made invalid, tables that `callsheet migrate` is still to make, and a server that
# only reads.
READ_ONLY: Final = "25006"
UNDEFINED_TABLE: Final = "42P01"
PASSING: Final = (
    *("08", "28", "3D000", "53", "57", "58"),
    *("55P03", "40001", "40P01", "25P03", "0A000", UNDEFINED_TABLE, READ_ONLY),
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections may cost, in seconds."""

    wait: float = 10.0  # for one that is free, before a request is told to come back
    connect: float = CONNECT_TIMEOUT  # to open one, at each host
    check_after: float = 5.0  # of idling: then it is asked whether it still lives
    check: float = 2.0  # for the answer to that
    age: float = 1800.0  # until it is replaced


def make_engine(url: str, size: int, bounds: Bounds, **settings: str) -> AsyncEngine:
    """A pool of so many connections, with these settings of the server's. What its sessions raise
    is Unavailable wherever Postgres, or the way to it, will get over it."""
    opened = partial(
        connect, url, timeout=bounds.connect, command_timeout=COMMAND_TIMEOUT, **settings
    )
    engine = create_async_engine(
        DIALECT,
        async_creator=opened,
        pool_size=size,
        max_overflow=0,
        pool_timeout=bounds.wait,
        pool_recycle=bounds.age,
        pool_use_lifo=True,  # few connections stay warm, rather than all lukewarm
        hide_parameters=True,  # errors are logged, and parameters hold secrets
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    event.listen(engine.sync_engine, "checkin", _note_idle)
    event.listen(engine.sync_engine, "checkout", partial(_check, bounds))
    translate_errors(engine)
    return engine


def translate_errors(engine: AsyncEngine) -> None:
    """Have its sessions raise Unavailable in place of what passes."""
    event.listen(engine.sync_engine, "handle_error", _translate)


@contextmanager
def opening() -> Iterator[None]:
    """Unavailable in place of whatever goes wrong while a connection is had from a pool."""
    try:
        yield
    except (SQLAlchemyError, *DRIVER_ERRORS) as error:
        raise Unavailable from error


@contextmanager
def translated(driver: asyncpg.Connection) -> Iterator[None]:
    """Unavailable in place of what this session raises and what passes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        if _passes(driver, error):
            raise _unavailable(error) from error
        raise


def _passes(driver: asyncpg.Connection, error: Exception) -> bool:
    """Whether this error is none of ours. A session that is broken, or that can only read, is
    ended: it would stay so when all others are well again."""
    state = str(getattr(error, "sqlstate", None) or "")
    if isinstance(error, BROKEN) or state == READ_ONLY:
        driver.terminate()
    return driver.is_closed() or state.startswith(PASSING)


def _unavailable(error: Exception) -> Unavailable:
    missing = getattr(error, "sqlstate", None) == UNDEFINED_TABLE
    return Unavailable(TABLES_MISSING if missing else None)


def _translate(context: ExceptionContext) -> None:
    error, connection = context.original_exception, context.connection
    if isinstance(error, Unavailable):  # it was lost, and could not be opened anew
        raise error
    if connection is None or connection.invalidated or not isinstance(error, Exception):
        return
    driver: Any = connection.connection.driver_connection
    cause = error.__cause__ if isinstance(error.__cause__, DRIVER_ERRORS) else error
    if _passes(driver, cause):
        context.is_disconnect = driver.is_closed()
        context.invalidate_pool_on_disconnect = False  # each of the others is looked at by itself
        raise _unavailable(cause) from error


def _note_idle(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[IDLE_SINCE] = time.monotonic()


def _check(
    bounds: Bounds, connection: AdaptedConnection, entry: ConnectionPoolEntry, _proxy: object
) -> None:
    """Have a session that died while nobody used it replaced before somebody does."""
    driver, since = connection.driver_connection, entry.info.get(IDLE_SINCE)
    if since is None:  # just opened
        return
    try:
        if driver.is_closed():
            raise DisconnectionError
        if time.monotonic() - since >= bounds.check_after:
            connection.run_async(partial(_ask, bounds.check))
    except DRIVER_ERRORS as error:
        driver.terminate()
        raise DisconnectionError from error


async def _ask(seconds: float, driver: asyncpg.Connection) -> None:
    await driver.execute("SELECT 1", timeout=seconds)
