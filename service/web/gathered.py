"""What arrives together is stored together, and looked up together: one batcher for each kind."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from typing import TypeVar

from service.core.errors import CallsheetError
from service.core.subjects import Subject
from service.steps import callers, ingest, reading
from service.steps.accept import CreateBatcher, make_batcher
from service.steps.apply import Taken
from service.steps.batcher import Batcher
from service.steps.callers import Presented
from service.steps.resources import Resources
from service.steps.verify import Incoming
from service.store.callers import Caller

LOOKERS = 2  # look-ups under way: as many as the pool for those of keys has connections
MOST_DOUBTFUL = 500  # callbacks that wait to be kept, and that anybody could send

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Gathered:
    """`callbacks` are believed, and `doubtful` ones not yet; `callers` are known by their keys
    or tokens; `subjects` are read by their account and id, and `places` are theirs in
    the queue."""

    callbacks: Batcher[Incoming, Taken]
    doubtful: Batcher[Incoming, Taken]
    intake: CreateBatcher
    callers: Batcher[Presented, Caller | CallsheetError]
    subjects: Batcher[tuple[str, str], Subject | None]
    places: Batcher[Subject, int | None]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """At the end, what is under way is broken off."""
        async with AsyncExitStack() as stack:
            for one in fields(self):
                await stack.enter_async_context(getattr(self, one.name))
            yield


def gather(resources: Callable[[], Resources]) -> Gathered:
    """All of them, over the resources that there are when something arrives."""

    def over(
        step: Callable[[Resources, Sequence[T]], Awaitable[Sequence[R]]],
    ) -> Callable[[Sequence[T]], Awaitable[Sequence[R]]]:
        return lambda items: step(resources(), items)

    return Gathered(
        callbacks=Batcher(over(ingest.store), weigh=_bytes),
        doubtful=Batcher(over(ingest.store), writers=1, bound=MOST_DOUBTFUL, weigh=_bytes),
        intake=make_batcher(resources),
        callers=Batcher(over(callers.known), writers=LOOKERS),
        subjects=Batcher(over(reading.subjects_of), writers=LOOKERS),
        places=Batcher(over(reading.positions), writers=LOOKERS),
    )


def _bytes(one: Incoming) -> int:
    return len(one.received.body)
