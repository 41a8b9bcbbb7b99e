"""Asking the provider for what it did not tell, and ending what took too long."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

import structlog

from service.core.backoff import full_jitter
from service.core.budget import Budget
from service.core.errors import Unavailable
from service.core.lifecycle import Signal, State
from service.core.report_to_signal import status_update
from service.core.subjects import StatusUpdate, Subject
from service.remote.provider import Absent, Deferred, Found, Stopped, Unknown
from service.steps import reverify, unreadable
from service.steps.for_each import for_each
from service.steps.leases import end_of_lease
from service.steps.resources import Resources
from service.steps.submit import RETRY_BASE, RETRY_CAP
from service.steps.transition import TransitionGuard, advance, advance_all, next_look_up
from service.store import provider, subjects

log = structlog.get_logger()

MOST = 10_000  # subjects with a lapsed lease, and past their deadline, that one sweep moves
BATCH = 100  # of them that are moved in one transaction


async def claim(resources: Resources, limit: int) -> Sequence[Subject]:
    """Subjects that nobody called back about in time, the longest overdue first; as many as the
    permitted rate lets through, which is waited for, at most a second."""
    rate = resources.settings.polls_per_second
    async with resources.database.autocommit() as tx:
        now = resources.clock()
        due, until = await provider.look_ups(tx, now, limit)
    if not due:
        return []
    # Here rather than in whoever calls: that one would leave a backlog to the next sweep.
    await asyncio.sleep(Budget(rate, until).wait(due, now))
    now = resources.clock()
    hold = end_of_lease(resources, now)
    async with resources.database.transaction() as tx:
        budget = Budget(rate, await provider.lock_look_ups(tx))
        due = min(limit, budget.left(now))
        claimed = await subjects.claim_polls(tx, now=now, hold_until=hold, limit=due)
        if claimed:
            await provider.spend_look_ups(tx, budget.spent(len(claimed), now))
    return claimed


async def look_up(resources: Resources, subject: Subject) -> None:
    """Ask for one subject; apply what is new, else ask again later, each time a little later."""
    answer = await resources.provider.look_up(subject.provider_task_id or subject.id)
    await unreadable.note(resources, subject.id, answer)
    news: StatusUpdate | None = None
    match answer:
        case Found(report):
            news = status_update(report)
            if news is None:
                log.warning(
                    "look_up", action="unknown_status", subject=subject.id, word=report.word
                )
        case Absent():
            news = _absent(resources, subject)
        case Deferred() | Stopped() | Unknown():
            log.warning("look_up", action="no_answer", subject=subject.id, answer=repr(answer))
        case _:
            assert_never(answer)
    if news is not None:
        outcome = await advance(
            resources, subject.id, news, TransitionGuard(attempt=subject.attempts)
        )
        if outcome is None or outcome.ignored is None:
            return
    await _ask_later(resources, subject)


def _absent(resources: Resources, subject: Subject) -> StatusUpdate | None:
    """Nothing there: send it again, but not while the lost call may still be on its way."""
    now = resources.clock()
    grace = timedelta(seconds=resources.settings.not_found_grace)
    if subject.state is State.UNCONFIRMED and (subject.claimed_at or now) + grace > now:
        return None
    wait = full_jitter(subject.attempts, RETRY_BASE, RETRY_CAP, resources.dice())
    return StatusUpdate(Signal.ABSENT, retry_at=now + timedelta(seconds=wait))


async def _ask_later(resources: Resources, subject: Subject) -> None:
    now = resources.clock()
    at = next_look_up(resources, subject, now, poll_count=subject.poll_count)
    if subject.state is State.UNCONFIRMED:  # it may never have arrived: do not let it wait long
        at = min(at, now + timedelta(seconds=1.0 + subject.poll_count))
    async with resources.database.transaction() as tx:
        await subjects.reschedule_poll(tx, subject, at)


async def sweep(resources: Resources) -> None:
    """Take up what dead workers held, end what is past its deadline, and take up the callbacks of
    subjects that have appeared."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        lapsed = await subjects.expired_leases(tx, now, MOST)
        overdue = await subjects.past_deadline(tx, now, MOST)
    await _move(resources, lapsed, partial(_lapsed, now))
    await _move(resources, overdue, partial(_overdue, now))
    await reverify.reverify_unmatched(resources)


async def _move(
    resources: Resources, ids: Sequence[str], judge: Callable[[Subject], StatusUpdate | None]
) -> None:
    """Move these by what `judge` says of each, in batches; where one of a batch is at fault, one by
    one, so that it does not keep the sweep from the others."""
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        try:
            await advance_all(resources, batch, judge)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - whose fault it is shows, and is logged, one by one
            await for_each(batch, lambda id_: advance_all(resources, [id_], judge))


def _lapsed(now: datetime, subject: Subject) -> StatusUpdate | None:
    """Nobody knows how far the dead worker came: look it up before anything is sent again."""
    if subject.state is not State.SUBMITTING or (subject.lease_until or now) > now:
        return None
    return StatusUpdate(Signal.LOST)


def _overdue(now: datetime, subject: Subject) -> StatusUpdate | None:
    if subject.finished_at is not None or subject.deadline > now:
        return None
    allowed = (subject.deadline - subject.created_at).total_seconds()
    message = f"not finished {allowed:.10g} s after acceptance"
    return StatusUpdate(Signal.DEADLINE, error={"code": "deadline_exceeded", "message": message})
