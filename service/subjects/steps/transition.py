"""Transitions of subjects: decide on a status update, write it, and log it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from msgspec import structs

from service.kit.database.connection import Connection
from service.kit.database.guards import GuardFailed
from service.media.store import media_checks
from service.reconciliation.domain.poll_schedule import poll_delay
from service.resources import Resources
from service.subjects.domain import lifecycle
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import CALLED_BACK, Ignored, Signal
from service.subjects.domain.signal_record import SignalRecord
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject, apply_update
from service.subjects.steps.transition_metrics import count_transitions
from service.subjects.store import signals, subjects, transitions
from service.subjects.store.events import NewEvent
from service.subjects.store.transitions import Transition

log = structlog.get_logger()

MAX_SINGLE_LINES = 8  # transitions of one batch that have a log line each; more share lines
MAX_LINE_ENTRIES = 32  # of one line: 10 kB, where many a collector cuts lines at 16


def decide(resources: Resources, subject: Subject, update: StatusUpdate) -> Transition:
    """What an update does to a subject, with the event that tells of it; nothing is written."""
    decision = lifecycle.decide(subject.state, update.signal)
    if isinstance(decision, Ignored):
        return Transition(subject, subject, decision)
    now = resources.clock()
    poll_at = None  # at once, for a lost answer
    if decision in CALLED_BACK:
        poll_at = next_poll_time(resources, subject, now, poll_count=0)
    after = apply_update(subject, decision, update, now, poll_at)
    events = () if after.version == subject.version else _events(after)
    return Transition(subject, after, events=events)


def _events(after: Subject) -> tuple[NewEvent]:
    callback = after.callback_subscriber_id and (
        after.callback_subscriber_id,
        str(after.document["callback_url"]),
    )
    return (NewEvent(subject_event(after), callback or None),)


@dataclass(frozen=True, slots=True)
class TransitionGuard:
    """Fencing: what must still hold of a subject for an update to count; nothing by default."""

    lease_token: str | None = None  # the subject is claimed under this token; None: any
    media_token: str | None = None  # its media check is claimed under this token; None: any
    attempt: int | None = None  # no submission was begun after this one; None: any

    async def rejects(self, tx: Connection, subject: Subject) -> bool:
        """Whether it does not hold any more. A caller that gives a media_token has the subject's
        lock; the rest is guarded by the subject as it was read."""
        if self.media_token is not None:
            return not await media_checks.holds_lease(tx, subject.id, self.media_token)
        lost = self.lease_token is not None and subject.lease_token != self.lease_token
        return lost or (self.attempt is not None and subject.attempts != self.attempt)


NO_GUARD = TransitionGuard()


async def transition(
    resources: Resources,
    subject_id: str,
    update: StatusUpdate,
    guard: TransitionGuard = NO_GUARD,
    source: SignalSource = SignalSource.SUBMIT,
) -> Transition | None:
    """Apply an update of this source to a subject, by what is read without a lock unless that
    changes before it is written, and notify the workers that have work by that.

    None if there is no such subject; Ignored.LATE if the guard rejects it.
    """
    learnt = _Learnt(update, source)
    try:
        locked = guard.media_token is not None  # what that guards is in no version of the subject
        result = await _transition(resources, subject_id, learnt, guard, locked=locked)
    except GuardFailed:
        result = await _transition(resources, subject_id, learnt, guard, locked=True)
    if result is not None and result.ignored is not None and source is SignalSource.SUBMIT:
        # Rare: what else came about the subject was faster than the answer to our own call.
        async with resources.database.autocommit() as tx:
            await signals.append(tx, subject_id, learnt.record(resources, result))
    if result is not None:
        count_transitions([result], source)
        log_transitions([(result, update.signal.value)])
    return result


async def _transition(
    resources: Resources,
    subject_id: str,
    learnt: "_Learnt",
    guard: TransitionGuard,
    *,
    locked: bool,
) -> Transition | None:
    """Read a subject, apply to it what was learnt, and write what that makes of it: in a
    transaction that holds the subject's lock if `locked`, else by what is read without one.

    None if there is no such subject; Ignored.LATE if the guard rejects the update. Without the
    lock, GuardFailed, and nothing is written, if the subject changes meanwhile, or if another
    subject has the task that the update names.
    """
    database = resources.database
    async with database.transaction() if locked else database.autocommit() as tx:
        subject = await (subjects.lock if locked else subjects.get)(tx, subject_id)
        if subject is None:
            return None
        if await guard.rejects(tx, subject):
            return Transition(subject, subject, Ignored.LATE)
        if locked:
            own = await _without_foreign_task(tx, subject, learnt.update)
            learnt = replace(learnt, update=own)
        result = learnt.decide(resources, subject)
        await transitions.write(tx, [result])
    return result


@dataclass(frozen=True, slots=True)
class _Learnt:
    """An update, and who learnt it."""

    update: StatusUpdate
    source: SignalSource

    def decide(self, resources: Resources, subject: Subject) -> Transition:
        """What it does to a subject, to be kept with it if it moves."""
        result = decide(resources, subject, self.update)
        if result.ignored is not None:
            return result
        return structs.replace(result, signal=self.record(resources, result))

    def record(self, resources: Resources, result: Transition) -> SignalRecord:
        """What is kept of it with the subject."""
        moved = result.ignored is None
        return SignalRecord(
            source=self.source,
            at=result.after.updated_at if moved else resources.clock(),
            signal=self.update.signal,
            before=result.before.state,
            after=result.after.state if moved else None,
            ignored=result.ignored,
            details=self.update.details,
        )


async def transition_all(
    resources: Resources,
    subject_ids: Sequence[str],
    choose_update: Callable[[Subject], StatusUpdate | None],
) -> None:
    """Lock subjects, apply to each the update by the clock that `choose_update` returns, all in one
    transaction, and notify the workers that have work by that. None leaves a subject as it is. No
    update may have a provider_task_id: whether another subject has that task is not checked."""
    async with resources.database.transaction() as tx:
        moves = await transition_all_in(resources, tx, subject_ids, choose_update)
    count_transitions([move for move, _ in moves], SignalSource.CLOCK)
    log_transitions(moves)


async def transition_all_in(
    resources: Resources,
    tx: Connection,
    subject_ids: Sequence[str],
    choose_update: Callable[[Subject], StatusUpdate | None],
    source: SignalSource = SignalSource.CLOCK,
) -> list[tuple[Transition, str]]:
    """Lock subjects in the caller's transaction, and apply to each the update of this source that
    `choose_update` returns; None leaves one as it is. What was decided, each with its signal, is
    returned to be counted and logged after the commit. No update may have a provider_task_id."""
    locked = await subjects.lock_all(tx, ids=subject_ids, provider_task_ids=[])
    results = [
        (_Learnt(update, source).decide(resources, subject), update.signal.value)
        for subject in locked
        if (update := choose_update(subject))
    ]
    await transitions.write(tx, [result for result, _ in results])
    return results


async def _without_foreign_task(
    tx: Connection, subject: Subject, update: StatusUpdate
) -> StatusUpdate:
    """The update; if it names a task that another subject has, LOST instead: what it says is not
    about this subject."""
    task = update.provider_task_id
    if task is None or subject.provider_task_id is not None:
        return update
    owner = await subjects.id_by_provider_task(tx, task)
    if owner is None:
        return update
    log.error(
        "subject", action="provider_task_conflict", subject=subject.id, task=task, owner=owner
    )
    return StatusUpdate(Signal.LOST, details=update.details)


def log_transitions(moves: Sequence[tuple[Transition, str]]) -> None:
    """Log transitions after their commit, each with the signal that led to it. Many at once share
    lines: a line of its own for each would take a tenth of a callback's time."""
    entries = [_log_entry(move, signal) for move, signal in moves]
    if len(entries) <= MAX_SINGLE_LINES:
        for entry in entries:
            log.info("subject", action="transition", **entry)
        return
    for start in range(0, len(entries), MAX_LINE_ENTRIES):
        share = entries[start : start + MAX_LINE_ENTRIES]
        log.info("subject", action="transitions", transitions=share)


def _log_entry(move: Transition, signal: str) -> dict[str, Any]:
    before, after = move.before, move.after
    return {
        "subject": after.id,
        "account": after.account_id,
        "signal": signal,
        "before": before.state.value,
        "after": after.state.value,
        "verdict": move.verdict,
        "version": after.version,
        "attempt": after.attempts,
        "provider_task": after.provider_task_id,
        "error": (after.error or {}).get("code"),
    }


def next_poll_time(
    resources: Resources, subject: Subject, now: datetime, poll_count: int
) -> datetime:
    """When the provider is polled for a subject next, after `poll_count` polls that found nothing
    new."""
    typical = resources.settings.poll_after or resources.typical_durations.typical(
        subject.reference_type
    )
    return now + timedelta(seconds=poll_delay(poll_count, typical, resources.random()))
