"""Deleting at the provider what it made of a subject that is to be erased: durable work, which is
claimed under a lease, tried by one call outside any transaction, and recorded. What is held here is
wiped in the transaction that records the deletion, so never before it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from service.erasure.domain import tries
from service.erasure.domain.erasure import Erasure, ErasureState
from service.erasure.domain.tries import NotYet
from service.erasure.steps.erase import Erased, erase_in, log_erased
from service.erasure.store import erasures
from service.erasure.store.erasures import ClaimedErasure
from service.kit.timestamps import format_rfc3339
from service.metrics import ERASURES
from service.provider.domain.task_reports import TaskStatus
from service.provider.remote.outcomes import (
    DeleteOutcome,
    ElementDeleted,
    ElementNotFound,
    LookUpOutcome,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
    TaskFound,
    TaskNotFound,
)
from service.provider.steps import unreadable_answers
from service.resources import Resources, end_of_lease
from service.subjects.store import subjects

log = structlog.get_logger()

for _state in (ErasureState.DONE, ErasureState.FAILED):
    ERASURES.labels(_state)  # shown as 0 until the first of its kind


async def claim(resources: Resources, limit: int) -> Sequence[ClaimedErasure]:
    """Claim deletions that are due under a lease, at most `limit`."""
    now, token = resources.clock(), resources.new_id("lse")
    until = end_of_lease(resources, now)
    async with resources.database.autocommit() as tx:
        return await erasures.claim(
            tx, resources.home.fence, now=now, lease_until=until, token=token, limit=limit
        )


async def delete(resources: Resources, claimed: ClaimedErasure) -> bool | None:
    """Make the next call of a claimed deletion, and record what the provider answers: a look-up
    first, as long as its element is not known. Whether it is time to claim others."""
    answer = await _ask(resources, claimed)
    now = resources.clock()
    after = _after_answer(resources, claimed, answer, now)
    resumed = claimed.erasure.stopped and not after.stopped
    erased = await _record(resources, claimed, after, now, resumed=resumed)
    if erased is not None:
        log_erased(erased)
        _log(claimed, after)
    await unreadable_answers.count_answer(resources, after.subject_id, answer)
    return resumed or None


async def _ask(resources: Resources, claimed: ClaimedErasure) -> DeleteOutcome | LookUpOutcome:
    erasure = claimed.erasure
    if erasure.element_id is not None:
        return await resources.provider.delete(erasure.element_id)
    return await resources.provider.look_up(claimed.provider_task_id or erasure.subject_id)


def _after_answer(
    resources: Resources,
    claimed: ClaimedErasure,
    answer: DeleteOutcome | LookUpOutcome,
    now: datetime,
) -> Erasure:
    """The deletion once this answer is known."""
    erasure = claimed.erasure
    match answer:
        case RetryLater(provider_code=None) | OutcomeUnknown(was_readable=False) if erasure.stopped:
            return tries.not_resumed(erasure, now)
        case ElementDeleted() | ElementNotFound():
            return tries.done(erasure, now)
        case Refused(code, message):
            return tries.refused(erasure, code, message, now)
        case ProviderStopped(code, message):
            return tries.stopped(erasure, code, message, now)
        case TaskFound() | TaskNotFound():
            return _after_look_up(resources, claimed, answer, now)
        case RetryLater() | OutcomeUnknown():
            return tries.deferred(erasure, _not_yet(answer), now, resources.random())
        case _:
            assert_never(answer)


def _after_look_up(
    resources: Resources, claimed: ClaimedErasure, answer: TaskFound | TaskNotFound, now: datetime
) -> Erasure:
    """The deletion of an element that was not known, once the provider says what it made. A create
    may still be on its way for a while (rule P93)."""
    grace = timedelta(seconds=resources.settings.not_found_grace)
    if isinstance(answer, TaskFound):
        if answer.report.result is not None:
            return tries.known(claimed.erasure, str(answer.report.result["element_id"]), now)
        nothing_made = answer.report.status is TaskStatus.FAILED
    else:
        nothing_made = claimed.submitted_at is None or claimed.submitted_at + grace <= now
    if nothing_made:
        return tries.done(claimed.erasure, now)
    reason = NotYet("The provider may yet make an element of it.")
    return tries.deferred(claimed.erasure, reason, now, resources.random())


def _not_yet(answer: RetryLater | OutcomeUnknown) -> NotYet:
    if isinstance(answer, OutcomeUnknown):
        return NotYet(answer.reason)
    return NotYet(answer.message, answer.provider_code, answer.retry_after)


async def _record(
    resources: Resources,
    claimed: ClaimedErasure,
    after: Erasure,
    now: datetime,
    *,
    resumed: bool,
) -> Erased | None:
    """Write what became of a try, and wipe what is held here once the provider has nothing left:
    what was wiped. None, and nothing is written, if the deletion is another claim's by now."""
    erased, is_done = Erased(), after.state is ErasureState.DONE
    async with resources.database.transaction() as tx:
        if is_done:  # the subject before the erasure: the lock order
            await subjects.lock(tx, after.subject_id)
        if not await erasures.record(tx, after, str(claimed.erasure.lease_token)):
            return None
        if is_done:
            erased = await erase_in(tx, resources, [after.subject_id])
        if resumed:
            await erasures.resume(tx, now)
    return erased


def _log(claimed: ClaimedErasure, after: Erasure) -> None:
    """Say what became of a try. That the element is known now is no news."""
    facts: dict[str, object] = {
        "subject": after.subject_id,
        "account": claimed.account_id,
        "attempts": after.attempts,
    }
    if after.error is not None:
        error = after.error
        facts |= {"reason": error["code"], "message": error["message"]}
        facts["provider_code"] = error.get("provider_code")
    if after.state is not ErasureState.PENDING:
        ERASURES.labels(after.state).inc()
    if after.state is ErasureState.DONE:
        log.info("erasure", action="erasure_done", **facts)
    elif after.state is ErasureState.FAILED:
        log.error("erasure", action="erasure_failed", **facts)
    elif after.error is not None:
        at = format_rfc3339(after.next_try_at)
        log.warning("erasure", action="erasure_deferred", next_try_at=at, **facts)
