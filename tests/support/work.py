"""What workers are notified of, as any listener hears it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from service.resources import Resources
from service.subjects.store.work import WORK_CHANNEL
from tests.support.waiting import wait_until

MARK = "mark"  # no kind of work


@asynccontextmanager
async def work_notifications(
    resources: Resources,
) -> AsyncIterator[Callable[[], Awaitable[list[str]]]]:
    """Yields a function that returns the payloads that were committed since it was last called."""
    heard: list[str] = []
    connection = await asyncpg.connect(resources.settings.database_url)

    async def committed() -> list[str]:
        await connection.execute(f"NOTIFY {WORK_CHANNEL}, '{MARK}'")
        await wait_until(lambda: MARK in heard)  # behind all that was committed before it
        payloads = heard[: heard.index(MARK)]
        heard.clear()
        return payloads

    try:
        await connection.add_listener(WORK_CHANNEL, lambda *arguments: heard.append(arguments[-1]))
        yield committed
    finally:
        await connection.close()
