"""The connection pool and the transaction. Foreign errors are translated here."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Dialect, TextClause
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.core.errors import Unavailable

Transaction = AsyncConnection
DIALECT = "postgresql+asyncpg://"

STATEMENT_TIMEOUT = timedelta(seconds=30)
LOCK_TIMEOUT = timedelta(seconds=10)
IDLE_TIMEOUT = timedelta(seconds=60)  # a process that hangs inside a transaction lets go
CARELESS_POOL = 2  # connections; claims of deliveries use one at a time, look-ups of keys two
POOL_WAIT = 10.0  # seconds a request waits for a connection before it is told to come back

# Every statement here has one good plan, row by row through an index: planning anew would cost more
# than running it, and a plan made while a table was empty would read all of it when full. So that
# it can use a partial index, a statement names the states it seeks, and has no parameter for them;
# and where it joins, it says of each large table by itself which rows are sought.
PLANNING = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

UNREACHABLE = (OperationalError, InterfaceError, PoolTimeoutError, OSError)
# Postgres error codes and classes that say "not now": connection, log-in, no such database (yet),
# resources, operator, system, lock time-out, deadlock, a session ended for idling, a server that
# turned into a replica, and a plan that a migration has made invalid.
PASSING = (
    *("08", "28", "3D000", "53", "57", "58"),
    *("55P03", "40001", "40P01", "25P03", "25006", "0A000"),
)
CONNECT_TIMEOUT = 5.0  # seconds
COMMAND_TIMEOUT = 45.0  # seconds; a connection that hangs although Postgres should have given up


@lru_cache(maxsize=32)
def _in_driver_words(statement: TextClause, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """A statement with numbered parameters, and the names of those in their order."""
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup or ())


class Direct:
    """A transaction on the driver itself, for the paths where SQLAlchemy's part shows: for a batch
    of callbacks it takes as much processor time as five of them.

    It runs text() alone, with a CAST wherever Postgres cannot tell a parameter's type. What comes
    back went through the codecs that SQLAlchemy gave the connection: JSON is read already.
    """

    def __init__(self, driver: asyncpg.Connection, dialect: Dialect) -> None:
        self._driver = driver
        self._dialect = dialect

    async def execute(self, statement: TextClause, values: Mapping[str, Any]) -> Sequence[Any]:
        sql, names = _in_driver_words(statement, self._dialect)
        rows: Sequence[Any] = await self._driver.fetch(sql, *[values[name] for name in names])
        return rows


class Database:
    """Connections to one Postgres, and transactions on them."""

    def __init__(self, url: str, pool: int = 20) -> None:
        self._engine = _engine(url, pool)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._careless = _engine(url, CARELESS_POOL, synchronous_commit="off").execution_options(
            isolation_level="AUTOCOMMIT"
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One transaction: committed at the end, rolled back on any error.

        Unavailable, if Postgres cannot be reached or is overburdened: then nothing is known to
        have happened, and every step here is safe to run again.
        """
        async with self._translated(self._engine.begin()) as connection:
            yield connection

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Transaction]:
        """For a single statement: it is its own transaction, which saves two trips."""
        async with self._translated(self._autocommit.connect()) as connection:
            yield connection

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[Direct]:
        """The same as `transaction`, on a connection of the same pool."""
        async with self._driven(self._engine) as driver, driver.transaction():
            yield Direct(driver, self._engine.dialect)

    @asynccontextmanager
    async def peek(self) -> AsyncIterator[Direct]:
        """The same as `glance`, likewise."""
        async with self._driven(self._engine) as driver:
            yield Direct(driver, self._engine.dialect)

    @asynccontextmanager
    async def careless(self) -> AsyncIterator[Direct]:
        """For statements that are transactions of their own and do not wait for the disk: what they
        do may be lost in a crash of Postgres without harm, as a claim whose work is done at least
        once."""
        async with self._driven(self._careless) as driver:
            yield Direct(driver, self._careless.dialect)

    @asynccontextmanager
    async def _driven(self, engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
        async with self._translated(engine.connect()) as connection:
            driver = await _driver(connection)
            if driver.is_closed():  # Postgres was restarted, and nobody has used it since
                await connection.invalidate()
                driver = await _driver(connection)
            try:
                yield driver
            except asyncpg.PostgresError as error:
                if str(error.sqlstate or "").startswith(PASSING):
                    raise Unavailable from error
                raise
            except asyncpg.InternalClientError as error:  # cut off in the midst of something
                driver.terminate()
                raise Unavailable from error
            except asyncpg.InterfaceError as error:
                if driver.is_closed():
                    raise Unavailable from error
                raise
            finally:
                if driver.is_closed():
                    await connection.invalidate()

    @asynccontextmanager
    async def _translated(
        self, opened: AbstractAsyncContextManager[AsyncConnection]
    ) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with opened as connection:
                yield connection

    async def close(self) -> None:
        await self._engine.dispose()
        await self._careless.dispose()


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    return (await connection.get_raw_connection()).driver_connection


@contextmanager
def translated() -> Iterator[None]:
    """Unavailable in place of what Postgres, or the way to it, will get over."""
    try:
        yield
    except UNREACHABLE as error:
        raise Unavailable from error
    except DBAPIError as error:
        if error.connection_invalidated or _sqlstate(error).startswith(PASSING):
            raise Unavailable from error
        raise


def _engine(url: str, pool: int, **settings: str) -> AsyncEngine:
    connect = partial(
        asyncpg.connect,
        url,  # read by the driver itself, which knows sslmode and the like
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={
            "application_name": "callsheet",
            "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
            "lock_timeout": _milliseconds(LOCK_TIMEOUT),
            "idle_in_transaction_session_timeout": _milliseconds(IDLE_TIMEOUT),
            "jit": "off",
            **PLANNING,
            **settings,
        },
    )
    return create_async_engine(
        DIALECT,
        async_creator=connect,
        pool_size=pool,
        max_overflow=0,
        pool_timeout=POOL_WAIT,
        pool_use_lifo=True,  # few connections stay warm, rather than all lukewarm
        hide_parameters=True,  # errors are logged, and parameters hold secrets
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )


def _milliseconds(duration: timedelta) -> str:
    return str(int(duration.total_seconds() * 1000))


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", "") or "")
