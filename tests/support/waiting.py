"""Waiting for a condition without sleeping longer than it takes."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def wait_until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10) -> None:
    """Return once the condition, a function or a coroutine function, gives True; fail if it does
    not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
