"""The batchers of a process: what arrives together is written, or looked up, in one transaction."""

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
from service.subjects.domain.subject import SubjectView, WaitingView

LOOKUP_WRITERS = 2  # batches at a time: the pool for API keys has as many connections
# Subjects of one look-up. There is one at a time: two would share what arrives, and cost as much
# each. While Postgres reads, the answers of the look-up before are made.
MAX_SUBJECTS = 64
MAX_UNTRUSTED = 500  # untrusted callbacks that may wait to be stored

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Batchers:
    """The batchers that one process opens, one for each kind of work."""

    callbacks: Batcher[Callback, CallbackResult]  # those that are verified
    # Those that anybody could have sent: see Callback.untrusted.
    untrusted_callbacks: Batcher[Callback, CallbackResult]
    creates: CreateBatcher  # requests to create a subject, unless their media are large
    callers: CallerBatcher  # who calls, by API key or token
    subjects: Batcher[tuple[str, str], WaitingView | None]  # by account and id; None: not found
    # Of queued subjects; None: not queued any more.
    queue_positions: Batcher[SubjectView, int | None]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the batchers; at the end, batches under way are cancelled."""
        async with AsyncExitStack() as stack:
            for field in fields(self):
                await stack.enter_async_context(getattr(self, field.name))
            yield


def make_batchers(resources: Callable[[], Resources]) -> Batchers:
    """The batchers of a process. `resources` is called for each batch: it may be set up later."""

    def over(
        step: Callable[[Resources, Sequence[T]], Awaitable[Sequence[R]]],
    ) -> Callable[[Sequence[T]], Awaitable[Sequence[R]]]:
        return lambda items: step(resources(), items)

    return Batchers(
        callbacks=Batcher(over(ingest.ingest), "callbacks", size_of=_body_size),
        untrusted_callbacks=Batcher(
            over(ingest.ingest),
            "untrusted_callbacks",
            writers=1,
            max_waiting=MAX_UNTRUSTED,
            size_of=_body_size,
        ),
        creates=make_batcher(resources),
        callers=Batcher(over(authenticate.authenticate_batch), "callers", writers=LOOKUP_WRITERS),
        subjects=Batcher(over(read.get_subjects), "subjects", writers=1, max_batch=MAX_SUBJECTS),
        queue_positions=Batcher(
            over(read.queue_positions), "queue_positions", writers=LOOKUP_WRITERS
        ),
    )


def _body_size(callback: Callback) -> int:
    return len(callback.raw.body)
