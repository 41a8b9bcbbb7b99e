"""Each kind of connection of `Database`: what reads with it, what writes, what opens it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import text

from service.kit.database.database import Database
from service.kit.database.listen import listen
from service.kit.database.migrate import migrate
from service.kit.database.pool import PoolTimeouts
from service.kit.errors import Unavailable

BACKEND_PID = text("SELECT pg_backend_pid()")
INSERT_ACCOUNT = text("INSERT INTO accounts (id, name, created_at) VALUES (:id, :id, now())")

ReadBackendPid = Callable[[Database], Awaitable[int]]


@asynccontextmanager
async def open_database(url: str, timeouts: PoolTimeouts | None = None) -> AsyncIterator[Database]:
    database = Database(url, timeouts=timeouts)
    try:
        yield database
    finally:
        await database.close()


async def pid_in_transaction(database: Database) -> int:
    async with database.transaction() as tx:
        return int(await tx.scalar(BACKEND_PID))


async def pid_in_rolled_back_transaction(database: Database) -> int:
    async with database.transaction(commit=False) as tx:
        return int(await tx.scalar(BACKEND_PID))


async def pid_in_autocommit(database: Database) -> int:
    async with database.autocommit() as tx:
        return int(await tx.scalar(BACKEND_PID))


async def pid_in_relaxed(database: Database) -> int:
    async with database.relaxed() as tx:
        return int(await tx.scalar(BACKEND_PID))


READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = on"
WRITABLE = "ALTER DATABASE {} RESET default_transaction_read_only"

each_connection_kind = pytest.mark.parametrize(
    "use", [pid_in_transaction, pid_in_rolled_back_transaction, pid_in_autocommit, pid_in_relaxed]
)


async def insert_in_transaction(database: Database, name: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT_ACCOUNT, {"id": name})


async def insert_in_autocommit(database: Database, name: str) -> None:
    async with database.autocommit() as tx:
        await tx.execute(INSERT_ACCOUNT, {"id": name})


async def insert_in_relaxed(database: Database, name: str) -> None:
    async with database.relaxed() as tx:
        await tx.execute(INSERT_ACCOUNT, {"id": name})


async def wait_until_listening(url: str) -> None:
    """Return once a listener listens on the database at this URL."""
    listening = asyncio.Event()
    task = asyncio.ensure_future(listen(url, "c", lambda _: listening.set()))
    waiting = asyncio.ensure_future(listening.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        assert listening.is_set(), task.exception()
    finally:
        for started in (task, waiting):
            started.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                await started


async def open_all_connection_kinds(url: str, timeouts: PoolTimeouts | None = None) -> None:
    """Open every kind of connection with this URL: transactions, the listener, the migrations."""
    async with open_database(url, timeouts) as database:
        await insert_in_transaction(database, url)
        await insert_in_relaxed(database, f"{url} 2")
    await wait_until_listening(url)
    await asyncio.to_thread(migrate, url)
