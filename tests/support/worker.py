"""A worker in the test's own process, and what it logs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from arq.connections import create_pool
from structlog.typing import EventDict

from service import worker
from service.job_queue import redis_settings, wake_channel
from service.settings import Settings
from tests.support.api import Api
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


async def wait_until_listening(settings: Settings) -> None:
    """Return once a worker listens on the wake channel."""
    pool = await create_pool(redis_settings(settings.redis_url))
    channel = wake_channel(settings.queue_name)

    async def heard() -> bool:
        return bool((await pool.pubsub_numsub(channel))[0][1])

    try:
        await wait_until(heard)
    finally:
        await pool.aclose()


def logged_actions(logged: list[EventDict]) -> list[object]:
    """The action of each log line."""
    return [line.get("action") for line in logged]


def settings_without_sweeps(api: Api) -> Settings:
    """The settings, with sweeps so rare that none runs."""
    return replace(api.resources.settings, sweep_interval=NEVER_SWEEP)
