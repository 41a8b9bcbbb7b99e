"""Runs bulk operations in small steps: each is a transaction that does it to some items and moves
the position, so that whoever is cut off in the middle has done nothing, and repeats nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from service.delivery.steps.replay import DISABLED
from service.kit.errors import Conflict, NotFound, Unavailable
from service.operations.domain.bulk import Chunk
from service.operations.domain.operation import OperationState, StopReason
from service.operations.steps.bulk_kinds import KINDS, Outcome
from service.operations.store import operations
from service.operations.store.operations import ClaimedStep, Operation
from service.resources import Resources, end_of_lease
from service.subjects.domain.signal_source import SignalSource
from service.subjects.steps.transition import log_transitions
from service.subjects.steps.transition_metrics import count_transitions

log = structlog.get_logger()

LATE = timedelta(seconds=1)  # of a step that was late, so much is made up for at most


async def claim(resources: Resources, _most: int) -> Sequence[ClaimedStep]:
    """Claim the step that was due first, of all operations; none if none is due."""
    now = resources.clock()
    async with resources.database.autocommit() as tx:
        step = await operations.claim(
            tx, resources.home.fence, now, resources.new_id("lse"), end_of_lease(resources, now)
        )
    return () if step is None else (step,)


async def run_step(resources: Resources, claimed: ClaimedStep) -> None:
    """Do a claimed step, or less of it: where it comes to a fault, the first item alone; and if
    that is at fault, it is passed over, and counted as failed."""
    try:
        await do_step(resources, claimed)
    except Unavailable:
        raise
    except (NotFound, Conflict) as error:
        await _stop_for(resources, claimed, error)
    except Exception:
        log.exception("operation", action="fault", operation=claimed.operation_id)
        await _do_one(resources, claimed)


async def _do_one(resources: Resources, claimed: ClaimedStep) -> None:
    try:
        await do_step(resources, claimed, most=1)
    except Unavailable:
        raise
    except Exception:
        log.exception("operation", action="fault", operation=claimed.operation_id)
        await do_step(resources, claimed, most=1, pass_over=True)


async def run_at_once(resources: Resources, claimed: ClaimedStep) -> None:
    """Do an operation's steps to its end, or until it is stopped. NotFound and Conflict, which stop
    it, if its subscriber is gone or disabled."""
    try:
        while await do_step(resources, claimed, keep=True):
            pass
    except (NotFound, Conflict) as error:
        await _stop_for(resources, claimed, error)
        raise


async def do_step(
    resources: Resources,
    claimed: ClaimedStep,
    *,
    most: int | None = None,
    pass_over: bool = False,
    keep: bool = False,
) -> bool:
    """Do a claimed step, unless the operation was stopped, or the lease is another's by now: then
    nothing is done. Whether it was done, and the operation goes on.

    At most `most` items are taken; with `pass_over` it is done to none of them; with `keep` the
    lease is kept for the next step.
    """
    now = resources.clock()
    async with resources.database.transaction() as tx:
        operation = await operations.lock(tx, claimed.operation_id)
        if operation is None or operation.lease_token != claimed.lease_token:
            return False
        kind = KINDS[operation.what]
        chunk = await kind.read(tx, operation, most or _allowed(operation, kind.batch))
        outcome = Outcome(0)
        if chunk.items and not pass_over:
            outcome = await kind.act(resources, tx, operation, chunk.items)
        after = _after_step(operation, chunk, outcome.done, pass_over=pass_over)
        if chunk.rest is None:
            after = _ended(after, now)
        elif not keep:
            at = _next_step_at(after, now, claimed.due_at, len(chunk.items))
            after = replace(after, next_step_at=at, lease_token=None)
        else:
            after = replace(after, next_step_at=end_of_lease(resources, now))
        await operations.save(tx, after)
    count_transitions([move for move, _ in outcome.moves], SignalSource.CANCEL)
    log_transitions(outcome.moves)
    if after.state is OperationState.DONE:
        log.info("operation", action="operation_ended", **log_fields(after))
    return after.state is OperationState.RUNNING


def _allowed(operation: Operation, batch: int) -> int:
    """How many items a step takes: no more than a second's."""
    return batch if operation.rate is None else max(1, min(batch, int(operation.rate)))


def _after_step(operation: Operation, chunk: Chunk, done: int, *, pass_over: bool) -> Operation:
    others = len(chunk.items) - done
    return replace(
        operation,
        position=chunk.rest,
        done=operation.done + done,
        skipped=operation.skipped + (0 if pass_over else others),
        failed=operation.failed + (others if pass_over else 0),
    )


def _ended(operation: Operation, now: datetime) -> Operation:
    """What was counted and was not met has changed too: it is skipped. What was not counted makes
    the count exact."""
    met = operation.done + operation.failed
    skipped = operation.skipped
    if operation.count_exact:
        skipped = max(skipped, operation.count - met)
    return replace(
        operation,
        state=OperationState.DONE,
        count=met + skipped,
        count_exact=True,
        skipped=skipped,
        position=None,
        next_step_at=None,
        lease_token=None,
        finished_at=now,
    )


def _next_step_at(operation: Operation, now: datetime, due_at: datetime, taken: int) -> datetime:
    """When the next step is due: at once, or once the rate allows it, reckoned from when this one
    was due."""
    if operation.rate is None:
        return now
    return max(due_at, now - LATE) + timedelta(seconds=taken / operation.rate)


async def _stop_for(resources: Resources, claimed: ClaimedStep, error: NotFound | Conflict) -> None:
    """Stop an operation whose subscriber is disabled or gone."""
    disabled = isinstance(error, Conflict) and error.code == DISABLED
    reason = StopReason.SUBSCRIBER_DISABLED if disabled else StopReason.SUBSCRIBER_GONE
    async with resources.database.transaction() as tx:
        operation = await operations.lock(tx, claimed.operation_id)
        if operation is None or operation.lease_token != claimed.lease_token:
            return
        stopped = stopped_operation(operation, reason, resources.clock())
        await operations.save(tx, stopped)
    log.info("operation", action="operation_stopped", **log_fields(stopped))


def stopped_operation(operation: Operation, reason: StopReason, now: datetime) -> Operation:
    """A running operation as it is once it is stopped; what was done stays done."""
    return replace(
        operation,
        state=OperationState.STOPPED,
        stop_reason=reason,
        next_step_at=None,
        lease_token=None,
        finished_at=now,
    )


def log_fields(operation: Operation) -> dict[str, Any]:
    """What a log line says of an operation that begins or ends."""
    return {
        "operation": operation.id,
        "what": operation.what.value,
        "account": operation.account_id,
        "state": operation.state.value,
        "stop_reason": operation.stop_reason,
        "count": operation.count,
        "count_exact": operation.count_exact,
        "done": operation.done,
        "skipped": operation.skipped,
        "failed": operation.failed,
        "rate": operation.rate,
    }
