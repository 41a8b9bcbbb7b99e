"""A worker in the test's own process, and what it logs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from arq.connections import ArqRedis
from arq.constants import health_check_key_suffix
from structlog.typing import EventDict

from service import worker
from service.resources import Resources
from service.settings import Settings
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.waiting import wait_until

NEVER_SWEEP = 3600.0  # seconds: longer than any test


@asynccontextmanager
async def running_worker(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """Run a worker in this process; yields the event that stops it."""
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        await running


LISTENS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle' AND query = 'LISTEN "callsheet_work"'
"""


async def wait_until_listening(resources: Resources) -> None:
    """Return once a worker listens for work."""

    async def listens() -> bool:
        return bool(await fetch(resources, LISTENS))

    await wait_until(listens)


SWEPT = "SELECT FROM snapshot WHERE taken_at IS NOT NULL AND audited_at IS NOT NULL"


async def wait_until_swept(resources: Resources) -> None:
    """Return once a worker has done its first sweeps: it opens no connection any more, which a stop
    would cut off."""

    async def swept() -> bool:
        return bool(await fetch(resources, SWEPT))

    await wait_until(swept)


async def wait_until_taking_jobs(redis: ArqRedis) -> None:
    """Return once a worker has looked into the queue: it says so there, by arq's health check."""

    async def takes_jobs() -> bool:
        return bool(await redis.exists(redis.default_queue_name + health_check_key_suffix))

    await wait_until(takes_jobs)


def logged_actions(logged: list[EventDict]) -> list[object]:
    """The action of each log line."""
    return [line.get("action") for line in logged]


def settings_without_sweeps(api: Api) -> Settings:
    """The settings, with sweeps so rare that none runs."""
    return replace(api.resources.settings, sweep_interval=NEVER_SWEEP)
