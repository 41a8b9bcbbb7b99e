"""A loop over ids in which a fault in one step does not keep the others from theirs."""

from collections.abc import Awaitable, Callable, Iterable

import structlog

from service.kit.errors import Unavailable

log = structlog.get_logger()


async def for_each(ids: Iterable[str], step: Callable[[str], Awaitable[object]]) -> None:
    """Do the step for each id, one after the other; what it raises is logged as a fault.

    Unavailable is raised at once: the other steps could not reach the database either.
    """
    for id_ in ids:
        try:
            await step(id_)
        except Unavailable:
            raise
        except Exception:
            log.exception("sweep", action="fault", id=id_)
