"""What arrives together is written together, or looked up together: the batchers of a process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from typing import TypeVar

from service.accounts.steps import authenticate
from service.accounts.steps.authenticate import CallerBatcher
from service.callbacks.domain.callback import Callback
from service.callbacks.steps import ingest
from service.callbacks.steps.apply import CallbackResult
from service.intake.steps.accept import CreateBatcher, make_batcher
from service.kit.concurrency.batcher import Batcher
from service.resources import Resources
from service.status.steps import read
from service.subjects.domain.subject import Subject

LOOKUP_WRITERS = 2  # look-ups under way: as many as the pool for those of keys has connections
MAX_UNTRUSTED = 500  # callbacks that wait to be kept, and that anybody could send

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Batchers:
    """One batcher for each kind of work."""

    callbacks: Batcher[Callback, CallbackResult]  # those that are believed
    untrusted_callbacks: Batcher[Callback, CallbackResult]  # callbacks that are not believed yet
    creates: CreateBatcher  # requests to create a subject, as far as they are not heavy
    callers: CallerBatcher  # by their keys or tokens
    subjects: Batcher[tuple[str, str], Subject | None]  # read by account and id
    queue_positions: Batcher[Subject, int | None]  # of subjects in the queue

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """At the end, what is under way is broken off."""
        async with AsyncExitStack() as stack:
            for field in fields(self):
                await stack.enter_async_context(getattr(self, field.name))
            yield


def make_batchers(resources: Callable[[], Resources]) -> Batchers:
    """The batchers over the resources that there are when something arrives."""

    def over(
        step: Callable[[Resources, Sequence[T]], Awaitable[Sequence[R]]],
    ) -> Callable[[Sequence[T]], Awaitable[Sequence[R]]]:
        return lambda items: step(resources(), items)

    return Batchers(
        callbacks=Batcher(over(ingest.ingest), size_of=_body_size),
        untrusted_callbacks=Batcher(
            over(ingest.ingest), writers=1, max_waiting=MAX_UNTRUSTED, size_of=_body_size
        ),
        creates=make_batcher(resources),
        callers=Batcher(over(authenticate.authenticate_batch), writers=LOOKUP_WRITERS),
        subjects=Batcher(over(read.get_subjects), writers=LOOKUP_WRITERS),
        queue_positions=Batcher(over(read.queue_positions), writers=LOOKUP_WRITERS),
    )


def _body_size(callback: Callback) -> int:
    return len(callback.raw.body)
