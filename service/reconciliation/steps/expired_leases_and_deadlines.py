"""The sweep that takes up subjects with an expired lease, and ends those past their deadline."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from service.callbacks.steps import reverify
from service.kit.concurrency.for_each import for_each
from service.kit.errors import Unavailable
from service.reconciliation.steps.given_up import log_given_up
from service.reconciliation.store import expired
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.signal_record import SignalDetails
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import transition_all

MAX_PER_SWEEP = 10_000  # subjects with an expired lease, and as many past their deadline
BATCH_SIZE = 100  # subjects that are moved in one transaction


async def sweep(resources: Resources) -> None:
    """Move subjects whose lease has expired or whose deadline has passed, and verify again the
    callbacks that came before their subject."""
    now, fence = resources.clock(), resources.home.fence
    async with resources.database.transaction() as tx:
        expired_ids = await expired.expired_leases(tx, fence, now, MAX_PER_SWEEP)
        overdue_ids = await expired.past_deadline(tx, fence, now, MAX_PER_SWEEP)
    await log_given_up(resources, overdue_ids)
    await _transition_in_batches(resources, expired_ids, partial(_lease_expired, now))
    await _transition_in_batches(resources, overdue_ids, partial(_deadline_exceeded, now))
    await reverify.reverify_unmatched(resources)


async def _transition_in_batches(
    resources: Resources,
    ids: Sequence[str],
    choose_update: Callable[[Subject], StatusUpdate | None],
) -> None:
    """Apply to each subject the update that `choose_update` returns, in batches. A batch that fails
    is repeated subject by subject, so that a faulty one does not keep the others from theirs."""
    for start in range(0, len(ids), BATCH_SIZE):
        batch = ids[start : start + BATCH_SIZE]
        try:
            await transition_all(resources, batch, choose_update)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - it is raised again, and logged, for the subject at fault
            await for_each(batch, lambda id_: transition_all(resources, [id_], choose_update))


def _lease_expired(now: datetime, subject: Subject) -> StatusUpdate | None:
    """LOST: nobody knows how far the dead worker came, so it is polled before it is sent again."""
    if subject.state is not State.SUBMITTING or (subject.lease_until or now) > now:
        return None
    return StatusUpdate(Signal.LOST, details=SignalDetails(sent_at=subject.claimed_at))


def _deadline_exceeded(now: datetime, subject: Subject) -> StatusUpdate | None:
    if subject.finished_at is not None or subject.deadline > now:
        return None
    allowed = (subject.deadline - subject.created_at).total_seconds()
    message = f"not finished {allowed:.10g} s after acceptance"
    return StatusUpdate(Signal.DEADLINE, error={"code": "deadline_exceeded", "message": message})
