"""How late the event loop runs what is due: whatever computes for long holds up all the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from service.kit.metrics import EVENT_LOOP_LAG

INTERVAL = 1.0  # seconds from one measurement to the next


@asynccontextmanager
async def measured_event_loop() -> AsyncIterator[None]:
    """Measure the event loop's lag meanwhile."""
    measuring = asyncio.create_task(_measure())
    try:
        yield
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)


async def _measure() -> None:
    while True:
        due = perf_counter() + INTERVAL
        await asyncio.sleep(INTERVAL)
        EVENT_LOOP_LAG.observe(max(0.0, perf_counter() - due))
