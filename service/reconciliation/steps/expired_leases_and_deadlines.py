"""Asking the provider for what it did not tell, and ending what took too long."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from service.callbacks.steps import reverify
from service.kit.concurrency.for_each import for_each
from service.kit.errors import Unavailable
from service.reconciliation.store import expired
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import transition_all

MAX_PER_SWEEP = (
    10_000  # subjects with a lapsed lease, and past their deadline, that one sweep moves
)
BATCH_SIZE = 100  # of them that are moved in one transaction


async def sweep(resources: Resources) -> None:
    """Take up what dead workers held, end what is past its deadline, and take up the callbacks of
    subjects that have appeared."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        lapsed = await expired.expired_leases(tx, now, MAX_PER_SWEEP)
        overdue = await expired.past_deadline(tx, now, MAX_PER_SWEEP)
    await _transition_in_batches(resources, lapsed, partial(_lease_expired, now))
    await _transition_in_batches(resources, overdue, partial(_deadline_exceeded, now))
    await reverify.reverify_unmatched(resources)


async def _transition_in_batches(
    resources: Resources, ids: Sequence[str], judge: Callable[[Subject], StatusUpdate | None]
) -> None:
    """Move these by what `judge` says of each, in batches; where one of a batch is at fault, one by
    one, so that it does not keep the sweep from the others."""
    for start in range(0, len(ids), BATCH_SIZE):
        batch = ids[start : start + BATCH_SIZE]
        try:
            await transition_all(resources, batch, judge)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - whose fault it is shows, and is logged, one by one
            await for_each(batch, lambda id_: transition_all(resources, [id_], judge))


def _lease_expired(now: datetime, subject: Subject) -> StatusUpdate | None:
    """Nobody knows how far the dead worker came: look it up before anything is sent again."""
    if subject.state is not State.SUBMITTING or (subject.lease_until or now) > now:
        return None
    return StatusUpdate(Signal.LOST)


def _deadline_exceeded(now: datetime, subject: Subject) -> StatusUpdate | None:
    if subject.finished_at is not None or subject.deadline > now:
        return None
    allowed = (subject.deadline - subject.created_at).total_seconds()
    message = f"not finished {allowed:.10g} s after acceptance"
    return StatusUpdate(Signal.DEADLINE, error={"code": "deadline_exceeded", "message": message})
