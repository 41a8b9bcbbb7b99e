"""Each way in which Postgres is used: what reads, what writes, and all that open connections."""

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
    made = Database(url, timeouts=timeouts)
    try:
        yield made
    finally:
        await made.close()


async def pid_in_transaction(used: Database) -> int:
    async with used.transaction() as tx:
        return int(await tx.scalar(BACKEND_PID))


async def pid_in_rolled_back_transaction(used: Database) -> int:
    async with used.transaction(commit=False) as tx:
        return int(await tx.scalar(BACKEND_PID))


async def pid_in_autocommit(used: Database) -> int:
    async with used.autocommit() as tx:
        return int(await tx.scalar(BACKEND_PID))


async def pid_in_relaxed(used: Database) -> int:
    async with used.relaxed() as tx:
        return int(await tx.scalar(BACKEND_PID))


READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = on"
WRITABLE = "ALTER DATABASE {} RESET default_transaction_read_only"

each_connection_kind = pytest.mark.parametrize(
    "use", [pid_in_transaction, pid_in_rolled_back_transaction, pid_in_autocommit, pid_in_relaxed]
)


async def insert_in_transaction(used: Database, name: str) -> None:
    async with used.transaction() as tx:
        await tx.execute(INSERT_ACCOUNT, {"id": name})


async def insert_in_autocommit(used: Database, name: str) -> None:
    async with used.autocommit() as tx:
        await tx.execute(INSERT_ACCOUNT, {"id": name})


async def insert_in_relaxed(used: Database, name: str) -> None:
    async with used.relaxed() as tx:
        await tx.execute(INSERT_ACCOUNT, {"id": name})


async def wait_until_listening(url: str) -> None:
    """Wait until a listener listens there."""
    listening = asyncio.Event()
    task = asyncio.ensure_future(listen(url, "c", lambda _: listening.set()))
    waiting = asyncio.ensure_future(listening.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        assert listening.is_set(), task.exception()
    finally:
        for one in (task, waiting):
            one.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                await one


async def open_all_connection_kinds(url: str, timeouts: PoolTimeouts | None = None) -> None:
    """All who open connections take this URL: transactions, the listener, the migrations."""
    async with open_database(url, timeouts) as one:
        await insert_in_transaction(one, url)
        await insert_in_relaxed(one, f"{url} 2")
    await wait_until_listening(url)
    await asyncio.to_thread(migrate, url)
