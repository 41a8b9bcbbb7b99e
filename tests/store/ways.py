"""Each way in which Postgres is used: what reads, what writes, and all that open connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import text

from service.core.errors import Unavailable
from service.store.database import Database
from service.store.engine import Bounds
from service.store.migrate import migrate
from service.store.notices import listen

PID = text("SELECT pg_backend_pid()")
WRITE = text("INSERT INTO accounts (id, name, created_at) VALUES (:id, :id, now())")

Use = Callable[[Database], Awaitable[int]]


@asynccontextmanager
async def opened(url: str, bounds: Bounds | None = None) -> AsyncIterator[Database]:
    made = Database(url, bounds=bounds)
    try:
        yield made
    finally:
        await made.close()


async def by_transaction(used: Database) -> int:
    async with used.transaction() as tx:
        return int((await tx.execute(PID)).scalar_one())


async def by_rehearsal(used: Database) -> int:
    async with used.rehearsal() as tx:
        return int((await tx.execute(PID)).scalar_one())


async def by_glance(used: Database) -> int:
    async with used.glance() as tx:
        return int((await tx.execute(PID)).scalar_one())


async def by_direct(used: Database) -> int:
    async with used.direct() as tx:
        ((pid,),) = await tx.execute(PID, {})
    return int(pid)


async def by_peek(used: Database) -> int:
    async with used.peek() as tx:
        ((pid,),) = await tx.execute(PID, {})
    return int(pid)


async def by_careless(used: Database) -> int:
    async with used.careless() as tx:
        ((pid,),) = await tx.execute(PID, {})
    return int(pid)


READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = on"
WRITABLE = "ALTER DATABASE {} RESET default_transaction_read_only"

each_way = pytest.mark.parametrize(
    "use", [by_transaction, by_rehearsal, by_glance, by_direct, by_peek, by_careless]
)


async def write_by_transaction(used: Database, name: str) -> None:
    async with used.transaction() as tx:
        await tx.execute(WRITE, {"id": name})


async def write_by_glance(used: Database, name: str) -> None:
    async with used.glance() as tx:
        await tx.execute(WRITE, {"id": name})


async def write_by_direct(used: Database, name: str) -> None:
    async with used.direct() as tx:
        await tx.execute(WRITE, {"id": name})


async def write_by_careless(used: Database, name: str) -> None:
    async with used.careless() as tx:
        await tx.execute(WRITE, {"id": name})


async def heard(url: str) -> None:
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


async def takes(url: str, bounds: Bounds | None = None) -> None:
    """All who open connections take this URL: transactions, the listener, the migrations."""
    async with opened(url, bounds) as one:
        await write_by_transaction(one, url)
        await write_by_careless(one, f"{url} 2")
    await heard(url)
    await asyncio.to_thread(migrate, url)
