"""A transition of a subject: decide on news, write what it comes to, wake whom it concerns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from service.callbacks.domain.verdicts import Verdict
from service.job_queue import Work
from service.kit.database.connection import Connection
from service.media.store import media_checks
from service.reconciliation.domain.poll_schedule import poll_delay
from service.resources import Resources
from service.subjects.domain import lifecycle
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import CALLED_BACK, WITH_PROVIDER, Ignored, Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject, apply_update
from service.subjects.store import subjects, transitions
from service.subjects.store.events import NewEvent
from service.subjects.store.transitions import Transition

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TransitionResult:
    """What a signal came to."""

    before: Subject
    after: Subject  # the same as `before`, if it stays
    ignored: Ignored | None  # why it stays; None: it moves
    events: tuple[NewEvent, ...] = ()  # what tells of its move; none if it is not told of

    @property
    def verdict(self) -> str:
        return Verdict.APPLIED.value if self.ignored is None else self.ignored.value


def decide(resources: Resources, subject: Subject, news: StatusUpdate) -> TransitionResult:
    """What this news comes to, with the event that tells of it; nothing is written."""
    decision = lifecycle.decide(subject.state, news.signal)
    if isinstance(decision, Ignored):
        return TransitionResult(subject, subject, decision)
    now = resources.clock()
    ask_at = None  # a lost answer is looked up at once, and what has ended never
    if decision in CALLED_BACK:
        ask_at = next_poll_time(resources, subject, now, poll_count=0)
    after = apply_update(subject, decision, news, now, ask_at)
    events = () if after.version == subject.version else _events(resources, after)
    return TransitionResult(subject, after, None, events)


def _events(resources: Resources, after: Subject) -> tuple[NewEvent]:
    callback = after.callback_subscriber_id and (
        after.callback_subscriber_id,
        str(after.document["callback_url"]),
    )
    return (NewEvent(subject_event(after), resources.new_id("dlv"), callback or None),)


async def _apply(tx: Connection, outcome: TransitionResult) -> int:
    """Write the move with its event and deliveries; how many of these. The caller holds the
    subject's lock."""
    if outcome.ignored is not None:
        return 0
    return await transitions.write(tx, [Transition(outcome.before, outcome.after, outcome.events)])


@dataclass(frozen=True, slots=True)
class TransitionGuard:
    """Who may move a subject; by default anybody."""

    lease_token: str | None = None  # only the holder of the lease with this token
    media_token: str | None = None  # only who checks its media under this token
    attempt: int | None = None  # only as long as no submission was begun after this one

    async def rejects(self, tx: Connection, subject: Subject) -> bool:
        """For a caller that has the subject's lock."""
        if self.media_token is not None:
            return not await media_checks.holds(tx, subject.id, self.media_token)
        lost = self.lease_token is not None and subject.lease_token != self.lease_token
        return lost or (self.attempt is not None and subject.attempts != self.attempt)


NO_GUARD = TransitionGuard()


async def transition(
    resources: Resources, subject_id: str, news: StatusUpdate, guard: TransitionGuard = NO_GUARD
) -> TransitionResult | None:
    """Lock, decide, write, commit, and wake whom it concerns; None if there is no such subject.

    Whoever its guard rejects finds its news late.
    """
    async with resources.database.transaction() as tx:
        subject = await subjects.lock(tx, subject_id)
        if subject is None:
            return None
        if await guard.rejects(tx, subject):
            outcome = TransitionResult(subject, subject, Ignored.LATE)
        else:
            outcome = decide(resources, subject, await _without_foreign_task(tx, subject, news))
        deliveries = await _apply(tx, outcome)
    log_and_wake(resources, outcome, news.signal.value, deliveries)
    return outcome


async def transition_all(
    resources: Resources,
    subject_ids: Sequence[str],
    judge: Callable[[Subject], StatusUpdate | None],
) -> None:
    """Lock these, and move each by the news that `judge` gives of it, all in one transaction; then
    wake whom it concerns. The news is of our own making: it names no task of the provider's."""
    async with resources.database.transaction() as tx:
        locked = await subjects.lock_all(tx, ids=subject_ids, provider_task_ids=[])
        judged = [(subject, news) for subject in locked if (news := judge(subject))]
        told = [(news.signal, decide(resources, subject, news)) for subject, news in judged]
        moving = [outcome for _, outcome in told if outcome.ignored is None]
        written = [Transition(outcome.before, outcome.after, outcome.events) for outcome in moving]
        deliveries = await transitions.write(tx, written)
    for signal, outcome in told:
        log_and_wake(resources, outcome, signal.value, deliveries)


async def _without_foreign_task(
    tx: Connection, subject: Subject, news: StatusUpdate
) -> StatusUpdate:
    """The news; but a task that is another subject's already says nothing about this one."""
    task = news.provider_task_id
    if task is None or subject.provider_task_id is not None:
        return news
    owner = await subjects.id_by_provider_task(tx, task)
    if owner is None:
        return news
    log.error("subject", action="task_of_another", subject=subject.id, task=task, owner=owner)
    return StatusUpdate(Signal.LOST)


def log_and_wake(
    resources: Resources, outcome: TransitionResult, signal: str, deliveries: int
) -> None:
    """After the commit: one log line, and wakes for whoever has work now."""
    before, after = outcome.before, outcome.after
    log.info(
        "subject",
        action="transition",
        subject=after.id,
        account=after.account_id,
        signal=signal,
        before=before.state.value,
        after=after.state.value,
        verdict=outcome.verdict,
        version=after.version,
        attempt=after.attempts,
        provider_task=after.provider_task_id,
        error=(after.error or {}).get("code"),
    )
    if deliveries:
        resources.worker_notifier.wake(Work.DELIVER)
    if before.state in WITH_PROVIDER and after.state not in WITH_PROVIDER:
        resources.worker_notifier.wake(Work.SUBMIT)
    if outcome.ignored is None and after.state is State.UNCONFIRMED:
        resources.worker_notifier.wake(Work.RECONCILE)


def next_poll_time(
    resources: Resources, subject: Subject, now: datetime, poll_count: int
) -> datetime:
    """When a subject is asked for, after that many look-ups without news."""
    usual = resources.settings.poll_after or resources.typical_durations.typical(
        subject.reference_type
    )
    return now + timedelta(seconds=poll_delay(poll_count, usual, resources.random()))
