"""Asking the provider for what it did not tell, and ending what took too long."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

import structlog

from service.kit.backoff import full_jitter
from service.kit.rate_limit import RateLimit
from service.provider.domain.report_to_signal import status_update
from service.provider.remote.outcomes import (
    OutcomeUnknown,
    ProviderStopped,
    RetryLater,
    TaskFound,
    TaskNotFound,
)
from service.provider.steps import unreadable_answers
from service.reconciliation.store import poll_rate, polls
from service.resources import Resources, end_of_lease
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import TransitionGuard, next_poll_time, transition
from service.submission.steps.submit import RETRY_BASE, RETRY_CAP

log = structlog.get_logger()


async def claim(resources: Resources, limit: int) -> Sequence[Subject]:
    """Subjects that nobody called back about in time, the longest overdue first; as many as the
    permitted rate lets through, which is waited for, at most a second."""
    rate = resources.settings.polls_per_second
    async with resources.database.autocommit() as tx:
        now = resources.clock()
        due, until = await poll_rate.due_polls(tx, now, limit)
    if not due:
        return []
    # Here rather than in whoever calls: that one would leave a backlog to the next sweep.
    await asyncio.sleep(RateLimit(rate, until).wait(due, now))
    now = resources.clock()
    hold = end_of_lease(resources, now)
    async with resources.database.transaction() as tx:
        budget = RateLimit(rate, await poll_rate.lock_poll_rate(tx))
        due = min(limit, budget.available(now))
        claimed = await polls.claim_polls(tx, now=now, hold_until=hold, limit=due)
        if claimed:
            await poll_rate.spend_poll_rate(tx, budget.spend(len(claimed), now))
    return claimed


async def poll(resources: Resources, subject: Subject) -> None:
    """Ask for one subject; apply what is new, else ask again later, each time a little later."""
    answer = await resources.provider.look_up(subject.provider_task_id or subject.id)
    await unreadable_answers.count_answer(resources, subject.id, answer)
    news: StatusUpdate | None = None
    match answer:
        case TaskFound(report):
            news = status_update(report)
            if news is None:
                log.warning(
                    "look_up", action="unknown_status", subject=subject.id, word=report.status_word
                )
        case TaskNotFound():
            news = _task_not_found(resources, subject)
        case RetryLater() | ProviderStopped() | OutcomeUnknown():
            log.warning("look_up", action="no_answer", subject=subject.id, answer=repr(answer))
        case _:
            assert_never(answer)
    if news is not None:
        outcome = await transition(
            resources, subject.id, news, TransitionGuard(attempt=subject.attempts)
        )
        if outcome is None or outcome.ignored is None:
            return
    await _reschedule(resources, subject)


def _task_not_found(resources: Resources, subject: Subject) -> StatusUpdate | None:
    """Nothing there: send it again, but not while the lost call may still be on its way."""
    now = resources.clock()
    grace = timedelta(seconds=resources.settings.not_found_grace)
    if subject.state is State.UNCONFIRMED and (subject.claimed_at or now) + grace > now:
        return None
    wait = full_jitter(subject.attempts, RETRY_BASE, RETRY_CAP, resources.random())
    return StatusUpdate(Signal.ABSENT, retry_at=now + timedelta(seconds=wait))


async def _reschedule(resources: Resources, subject: Subject) -> None:
    now = resources.clock()
    at = next_poll_time(resources, subject, now, poll_count=subject.poll_count)
    if subject.state is State.UNCONFIRMED:  # it may never have arrived: do not let it wait long
        at = min(at, now + timedelta(seconds=1.0 + subject.poll_count))
    async with resources.database.transaction() as tx:
        await polls.reschedule_poll(tx, subject, at)
