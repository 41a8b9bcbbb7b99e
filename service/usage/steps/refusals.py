"""Storing the counts of refused requests, every few seconds and at a process' end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from service.kit.errors import Unavailable
from service.resources import Resources
from service.usage.store import usage

INTERVAL = 5.0  # seconds; what a process that is killed has counted in them is lost


async def store(resources: Resources) -> None:
    """Store what this process has counted. Unavailable if it cannot be: it is kept for the next
    time."""
    taken = resources.refusals.take()
    if not taken:
        return
    try:
        async with resources.database.transaction() as tx:
            await usage.add_refusals(tx, taken)
    except BaseException:
        resources.refusals.add(taken)
        raise


@asynccontextmanager
async def stored_periodically(resources: Callable[[], Resources]) -> AsyncIterator[None]:
    """Store every INTERVAL what this process has counted, and once more at the end. `resources` is
    called each time: it may be set up later."""
    storing = asyncio.create_task(_store_periodically(resources))
    try:
        yield
    finally:
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        with suppress(Unavailable):
            await store(resources())


async def _store_periodically(resources: Callable[[], Resources]) -> None:
    while True:
        await asyncio.sleep(INTERVAL)
        with suppress(Unavailable):  # readiness and the metrics tell of that
            await store(resources())
