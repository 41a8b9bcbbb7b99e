"""The provider's own list of its tasks, and calls to it by hand, at a pace that leaves room for the
workers' polls."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from service.kit.errors import Unavailable
from service.provider.remote.outcomes import (
    OutcomeUnknown,
    ProviderStopped,
    RetryLater,
    TasksListed,
)
from service.resources import Resources

T = TypeVar("T")
PAGE = 500  # tasks of a page of the provider's list, and
MAX_PAGES = 1000  # pages of it: the most there are (rule P4)
TRIES = 3  # of a call that was not answered
PAUSE = 0.5  # seconds before the second try; twice as long before the third


async def pages(resources: Resources) -> AsyncIterator[TasksListed]:
    """The pages of the provider's list, to the last one. Raises Unavailable as `ask` does."""
    for number in range(1, MAX_PAGES + 1):
        page = await ask(resources, partial(resources.provider.list_tasks, number, PAGE))
        yield page
        if page.count < PAGE:
            return


async def ask(
    resources: Resources,
    call: Callable[[], Awaitable[T | RetryLater | ProviderStopped | OutcomeUnknown]],
) -> T:
    """What the provider answers, at a pace that leaves room for polls. Unavailable if it refuses,
    or does not answer TRIES times."""
    reason = ""
    for number in range(TRIES):
        outcome = await call()
        match outcome:
            case ProviderStopped(code, message):
                raise Unavailable(f"The provider refuses, with code {code}: {message}")
            case RetryLater(message=message, retry_after=wait):
                reason = message
            case OutcomeUnknown(reason=why):
                reason, wait = why, 0.0
            case _:
                await asyncio.sleep(1 / resources.settings.polls_per_second)
                return outcome
        if number + 1 < TRIES:
            await asyncio.sleep(max(wait, PAUSE * 2**number))
    raise Unavailable(f"The provider could not be asked: {reason}")
