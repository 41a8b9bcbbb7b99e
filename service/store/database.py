"""Transactions, of SQLAlchemy's and of the driver's own kind."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy import Dialect, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.store.engine import DRIVER_ERRORS, Bounds, make_engine, opening, translated

Transaction = AsyncConnection

STATEMENT_TIMEOUT = timedelta(seconds=30)
LOCK_TIMEOUT = timedelta(seconds=10)
IDLE_TIMEOUT = timedelta(seconds=60)  # a process that hangs inside a transaction lets go
CARELESS_POOL = 2  # connections; claims of deliveries use one at a time, look-ups of keys two
LISTENING = 1  # connection, where somebody follows a feed: store/notices.py
CONNECTIONS = 23  # of one process, all of these

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


def _milliseconds(duration: timedelta) -> str:
    return str(int(duration.total_seconds() * 1000))


SETTINGS = {
    "application_name": "callsheet",
    "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
    "lock_timeout": _milliseconds(LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": _milliseconds(IDLE_TIMEOUT),
    "jit": "off",
    **PLANNING,
}


@cache  # the statements are constants: there are as many as are written down
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
        with translated(self._driver):
            rows: Sequence[Any] = await self._driver.fetch(sql, *[values[name] for name in names])
        return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is executed meanwhile is committed at the end, or rolled back on any error."""
        transaction = self._driver.transaction()
        with translated(self._driver):
            await transaction.start()
        try:
            yield
        except BaseException:
            await self._roll_back(transaction)
            raise
        with translated(self._driver):
            await transaction.commit()

    async def _roll_back(self, transaction: asyncpg.transaction.Transaction) -> None:
        try:
            await transaction.rollback()
        except BaseException as error:
            self._driver.terminate()  # nobody else may go on in this transaction
            if not isinstance(error, DRIVER_ERRORS):
                raise


class Database:
    """Connections to one Postgres, `connections` at most, and transactions on them.

    All raise Unavailable, if Postgres cannot be reached or is overburdened: then nothing is known
    to have happened, and every step here is safe to run again. Errors that do not come from
    Postgres, or the way to it, stay what they are.
    """

    def __init__(
        self, url: str, connections: int = CONNECTIONS, bounds: Bounds | None = None
    ) -> None:
        bounds, size = bounds or Bounds(), connections - CARELESS_POOL - LISTENING
        self._pool = _pool(make_engine(url, size, bounds, **SETTINGS), size, bounds)
        self._autocommit = self._pool.autocommit()
        careless = {**SETTINGS, "synchronous_commit": "off"}
        engine = make_engine(url, CARELESS_POOL, bounds, **careless)
        self._careless = _pool(engine, CARELESS_POOL, bounds).autocommit()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One transaction: committed at the end, rolled back on any error."""
        async with _opened(self._pool) as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[Transaction]:
        """One transaction that is rolled back at the end: it shows whether it could be made."""
        async with _opened(self._pool) as connection:
            yield connection

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Transaction]:
        """For a single statement: it is its own transaction, which saves two trips."""
        async with _opened(self._autocommit) as connection:
            yield connection

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[Direct]:
        """One transaction on the driver itself: committed at the end, rolled back on any error."""
        async with _driven(self._pool) as tx, tx.transaction():
            yield tx

    @asynccontextmanager
    async def peek(self) -> AsyncIterator[Direct]:
        """For a single statement on the driver itself: it is its own transaction."""
        async with _driven(self._pool) as tx:
            yield tx

    @asynccontextmanager
    async def careless(self) -> AsyncIterator[Direct]:
        """For statements that are transactions of their own and do not wait for the disk: what they
        do may be lost in a crash of Postgres without harm, as a claim whose work is done at least
        once."""
        async with _driven(self._careless) as tx:
            yield tx

    async def close(self) -> None:
        await self._pool.engine.dispose()
        await self._careless.engine.dispose()


@dataclass(frozen=True, slots=True)
class _Pool:
    """An engine, and the turns in which its connections are had: in the order in which they were
    asked for. SQLAlchemy's own queue gives one that is free to whoever comes by, and who waits may
    wait for ever. `wait` is in seconds."""

    engine: AsyncEngine
    turns: asyncio.Semaphore
    wait: float

    def autocommit(self) -> "_Pool":
        """These connections, each statement a transaction of its own."""
        return replace(self, engine=self.engine.execution_options(isolation_level="AUTOCOMMIT"))


def _pool(engine: AsyncEngine, size: int, bounds: Bounds) -> _Pool:
    return _Pool(engine, asyncio.Semaphore(size), bounds.wait)


@asynccontextmanager
async def _opened(pool: _Pool) -> AsyncIterator[AsyncConnection]:
    async with AsyncExitStack() as stack:
        with opening():
            async with asyncio.timeout(pool.wait):
                await stack.enter_async_context(pool.turns)
            connection = await stack.enter_async_context(pool.engine.connect())
        yield connection


@asynccontextmanager
async def _driven(pool: _Pool) -> AsyncIterator[Direct]:
    async with _opened(pool) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            yield Direct(driver, pool.engine.dialect)
        finally:
            if driver.is_closed():
                await connection.invalidate()
