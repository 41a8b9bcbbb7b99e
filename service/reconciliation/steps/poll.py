"""Polling the provider for tasks that it has not called back about (promise 5)."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

import structlog
from msgspec.structs import replace

from service.kit import tracing
from service.kit.backoff import full_jitter
from service.kit.rate_limit import RateLimit
from service.metrics import POLLS
from service.provider.domain.report_to_signal import status_update
from service.provider.remote.outcomes import (
    LookUpOutcome,
    OutcomeUnknown,
    ProviderStopped,
    RetryLater,
    TaskFound,
    TaskNotFound,
)
from service.provider.steps import unreadable_answers
from service.provider.steps.answers import signal_details
from service.reconciliation.domain.poll_outcome import PollOutcome
from service.reconciliation.store import polls
from service.resources import Resources, end_of_lease
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.signal_record import SignalDetails, SignalRecord
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps import tracing as subject_tracing
from service.subjects.steps.transition import TransitionGuard, next_poll_time, transition
from service.subjects.store.transitions import Transition
from service.submission.steps.submit import RETRY_BASE, RETRY_CAP

log = structlog.get_logger()

for _outcome in PollOutcome:
    POLLS.labels(_outcome)  # shown as 0 until the first of its kind


async def claim(resources: Resources, limit: int) -> Sequence[Subject]:
    """Claim due polls, the longest overdue first: at most `limit`, and as many as the rate limit
    permits, after a wait of at most a second for that."""
    rate = resources.settings.polls_per_second
    async with resources.database.autocommit() as tx:
        now = resources.clock()
        due, used_until = await polls.count_due(tx, resources.home.fence, now, limit)
    if not due:
        return []
    # The wait is here: a work loop that got nothing would leave the backlog to the next sweep.
    await asyncio.sleep(RateLimit(rate, used_until).wait(due, now))
    now = resources.clock()
    hold_until = end_of_lease(resources, now)
    async with resources.database.transaction() as tx:
        rate_limit = RateLimit(rate, await polls.lock_rate(tx))
        limit = min(limit, rate_limit.available(now))
        claimed = await polls.claim(
            tx, resources.home.fence, now=now, hold_until=hold_until, limit=limit
        )
        if claimed:
            await polls.spend_rate(tx, rate_limit.spend(len(claimed), now))
    return claimed


async def poll(resources: Resources, subject: Subject) -> None:
    """Ask the provider about a claimed subject, and apply what is new. If nothing is, schedule the
    next poll, later each time."""
    sent_at = resources.clock()
    with tracing.span("look up") as span:
        answer = await resources.provider.look_up(subject.provider_task_id or subject.id)
        span.set(outcome=type(answer).__name__)
        await subject_tracing.link(resources, span, subject.id)
    await unreadable_answers.count_answer(resources, subject.id, answer)
    update, result = _status_update(resources, subject, answer), None
    details = signal_details(answer, sent_at)
    if update is not None:
        update = replace(update, details=details)
        guard = TransitionGuard(attempt=subject.attempts)
        result = await transition(resources, subject.id, update, guard, SignalSource.POLL)
    outcome = _poll_outcome(answer, result)
    POLLS.labels(outcome).inc()
    _log(subject, answer, outcome)
    if update is None or (result is not None and result.ignored is not None):
        await _reschedule(resources, subject, _record(resources, update, result, details))


def _record(
    resources: Resources,
    update: StatusUpdate | None,
    result: Transition | None,
    details: SignalDetails,
) -> SignalRecord:
    """What is kept of a poll that moved nothing."""
    return SignalRecord(
        source=SignalSource.POLL,
        at=resources.clock(),
        signal=None if update is None else update.signal,
        before=None if result is None else result.before.state,
        ignored=None if result is None else result.ignored,
        details=details,
    )


def _poll_outcome(answer: LookUpOutcome, result: Transition | None) -> PollOutcome:
    """What came of a poll, by its answer and by what that made of the subject, if anything."""
    match answer:
        case TaskNotFound():
            return PollOutcome.NOT_FOUND
        case RetryLater() | ProviderStopped() | OutcomeUnknown():
            return PollOutcome.NO_ANSWER
        case TaskFound():
            if result is None or result.ignored is not None:
                return PollOutcome.UNCHANGED
            return PollOutcome.ENDED if result.after.finished_at else PollOutcome.MOVED
        case _:
            assert_never(answer)


def _log(subject: Subject, answer: LookUpOutcome, outcome: PollOutcome) -> None:
    level = logging.WARNING if outcome is PollOutcome.NO_ANSWER else logging.INFO
    log.log(
        level,
        "poll",
        action="polled",
        subject=subject.id,
        account=subject.account_id,
        outcome=outcome,
        status=answer.report.status_word if isinstance(answer, TaskFound) else None,
        answer=None if isinstance(answer, TaskFound | TaskNotFound) else repr(answer),
        polls=subject.poll_count + 1,
    )


def _status_update(
    resources: Resources, subject: Subject, answer: LookUpOutcome
) -> StatusUpdate | None:
    """What an answer says of the subject; None: nothing, or a status that is not known."""
    match answer:
        case TaskFound(report):
            return status_update(report)
        case TaskNotFound():
            return _task_not_found(resources, subject)
        case RetryLater() | ProviderStopped() | OutcomeUnknown():
            return None
        case _:
            assert_never(answer)


def _task_not_found(resources: Resources, subject: Subject) -> StatusUpdate | None:
    """ABSENT, so that it is sent again; None while the lost call may still be on its way (rule
    P93)."""
    now = resources.clock()
    grace = timedelta(seconds=resources.settings.not_found_grace)
    sent_by = subject.claimed_at or subject.updated_at  # not claimed here: when that was in doubt
    if subject.state is State.UNCONFIRMED and sent_by + grace > now:
        return None
    wait = full_jitter(subject.attempts, RETRY_BASE, RETRY_CAP, resources.random())
    return StatusUpdate(Signal.ABSENT, retry_at=now + timedelta(seconds=wait))


async def _reschedule(resources: Resources, subject: Subject, record: SignalRecord) -> None:
    now = resources.clock()
    at = next_poll_time(resources, subject, now, poll_count=subject.poll_count)
    if subject.state is State.UNCONFIRMED:  # the provider may never have got it: ask again soon
        at = min(at, now + timedelta(seconds=1.0 + subject.poll_count))
    async with resources.database.transaction() as tx:
        await polls.reschedule(tx, subject, at, record)
