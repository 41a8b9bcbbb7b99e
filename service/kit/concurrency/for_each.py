"""Doing a step for each of several, so that a fault in one keeps nobody else from it."""

from collections.abc import Awaitable, Callable, Iterable

import structlog

from service.kit.errors import Unavailable

log = structlog.get_logger()


async def for_each(ids: Iterable[str], step: Callable[[str], Awaitable[object]]) -> None:
    """Do the step for each id, one after the other; what it raises is logged as a fault.

    Unavailable goes through: there is no database for the rest of them either.
    """
    for id_ in ids:
        try:
            await step(id_)
        except Unavailable:
            raise
        except Exception:
            log.exception("sweep", action="fault", id=id_)
