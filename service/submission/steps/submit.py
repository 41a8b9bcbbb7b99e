"""Submission: claim queued subjects under a lease, send each to the provider outside any
transaction, and record the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

import structlog
from msgspec.structs import replace

from service.callbacks.domain.url_tokens import callback_token
from service.kit import tracing
from service.kit.backoff import full_jitter
from service.kit.leases import Lease
from service.media.store import inline_media
from service.provider.domain import requests
from service.provider.domain.report_to_signal import status_update
from service.provider.remote.outcomes import (
    AlreadyExists,
    CreateOutcome,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
    TaskAccepted,
)
from service.provider.steps import unreadable_answers
from service.provider.steps.answers import signal_details
from service.resources import Resources, end_of_lease
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.domain.work import Work
from service.subjects.steps import tracing as subject_tracing
from service.subjects.steps.transition import TransitionGuard, transition
from service.subjects.steps.transition_metrics import count_claimed
from service.subjects.store import work
from service.submission.domain.parallel_limit import after_refusal, current_limit
from service.submission.store import claim as claim_store
from service.submission.store import provider_state
from service.submission.store.provider_state import ProviderState

log = structlog.get_logger()

RETRY_BASE = 1.0  # seconds; after the first RetryLater the wait is up to twice this
RETRY_CAP = 60.0  # seconds; the longest wait after RetryLater
PROBE_INTERVAL = timedelta(minutes=1)  # while submission is stopped: rule P46


@dataclass(frozen=True, slots=True)
class ClaimedSubject:
    """A subject that this worker may submit."""

    subject: Subject  # as it was claimed
    lease: Lease  # until its end nobody else submits the subject
    is_probe: bool  # whether it is sent to find out if a provider that was stopped answers again


async def claim(resources: Resources, limit: int) -> Sequence[ClaimedSubject]:
    """Claim queued subjects under a lease: at most `limit`, and no more than the parallel limit
    leaves free."""
    now, token = resources.clock(), resources.new_id("lse")
    until = end_of_lease(resources, now)
    async with resources.database.transaction() as tx:
        await provider_state.lock_claims(tx)
        state = await provider_state.read(tx)
        resources.typical_durations.update(state.typical_durations)
        limit = min(limit, _free_slots(resources, state, now))
        if limit <= 0:
            return []
        claimed = await claim_store.claim(
            tx, resources.home.fence, now=now, lease_until=until, token=token, limit=limit
        )
        is_probe = state.stopped_code is not None
        if is_probe and claimed:
            await provider_state.set_next_probe(tx, now + PROBE_INTERVAL)
    count_claimed(len(claimed))
    return [
        ClaimedSubject(subject, Lease(token, subject.id, until), is_probe) for subject in claimed
    ]


def _free_slots(resources: Resources, state: ProviderState, now: datetime) -> int:
    """How many more tasks the provider may be sent now; while it is stopped, one probe if due."""
    limit = current_limit(state.parallel_limit, resources.settings.provider_parallel, now)
    if state.stopped_code is not None:
        is_due = state.next_probe_at is None or state.next_probe_at <= now
        limit = min(limit, state.tasks + is_due)
    return limit - state.tasks


async def submit(resources: Resources, claimed: ClaimedSubject) -> None:
    """Send a claimed subject to the provider, and record what it answers."""
    subject = claimed.subject
    body = await _create_body(resources, subject)
    # Else another worker could poll for it, and find nothing, while the call is on its way.
    timeout = timedelta(seconds=resources.settings.provider_timeout)
    if not claimed.lease.outlasts(resources.clock() + timeout):
        log.warning("submission", action="lease_expired", subject=subject.id)
        return
    with tracing.span("submit") as span:
        answer = await resources.provider.create(body)
        span.set(outcome=type(answer).__name__, attempt=subject.attempts)
        await subject_tracing.link(resources, span, subject.id)
    now = resources.clock()
    details = signal_details(answer, subject.claimed_at or now)
    update = replace(_status_update(resources, subject, answer, now), details=details)
    guard = TransitionGuard(claimed.lease.token)
    if isinstance(answer, ProviderStopped | RetryLater):
        # Nothing was created. The transition notifies the claiming loop, which must know the limit.
        await _learn_about_provider(resources, claimed, answer, now)
        await transition(resources, subject.id, update, guard, SignalSource.SUBMIT)
    else:
        # The subject first: its answer comes once, what it says of the provider comes again.
        await transition(resources, subject.id, update, guard, SignalSource.SUBMIT)
        await _learn_about_provider(resources, claimed, answer, now)
    await unreadable_answers.count_answer(resources, subject.id, answer)


async def _create_body(resources: Resources, subject: Subject) -> dict[str, Any]:
    images: dict[str, bytes] = {}
    if requests.has_inline(subject.document):
        async with resources.database.autocommit() as tx:
            images = await inline_media.by_subject(tx, subject.id)
    token = callback_token(resources.callback_token_key, subject.id)
    return requests.create_body(
        subject.document,
        images,
        external_task_id=subject.id,
        callback_url=f"{resources.settings.public_url}/callbacks/{token}",
    )


def _status_update(
    resources: Resources, subject: Subject, answer: CreateOutcome, now: datetime
) -> StatusUpdate:
    """What an answer says of the subject."""
    match answer:
        case TaskAccepted(report):
            return status_update(report) or StatusUpdate(Signal.LOST)
        case AlreadyExists() | OutcomeUnknown():  # an earlier answer was lost, or this one was
            return StatusUpdate(Signal.LOST)
        case Refused(code, message):
            error = {"code": "provider_refused", "message": message, "provider_code": code}
            return StatusUpdate(Signal.REFUSED, error=error)
        case RetryLater(retry_after=retry_after, at_parallel_limit=at_parallel_limit):
            # No backoff at the parallel limit: the limit that is learnt decides when to send more.
            doublings = 0 if at_parallel_limit else subject.attempts
            wait = full_jitter(doublings, RETRY_BASE, RETRY_CAP, resources.random())
            return StatusUpdate(
                Signal.DEFERRED, retry_at=now + timedelta(seconds=max(retry_after, wait))
            )
        case ProviderStopped():
            return StatusUpdate(Signal.DEFERRED, retry_at=now)
        case _:
            assert_never(answer)


async def _learn_about_provider(
    resources: Resources, claimed: ClaimedSubject, answer: CreateOutcome, now: datetime
) -> None:
    """Record what an answer says of the provider, for all workers."""
    match answer:
        case ProviderStopped(code, message):
            async with resources.database.transaction() as tx:
                await provider_state.stop(tx, code, message, now + PROBE_INTERVAL)
            log.error("submission", action="stopped", provider_code=code, message=message)
        case RetryLater(at_parallel_limit=True):
            await _learn_limit(resources, claimed.subject, now)
        case TaskAccepted() | AlreadyExists() | Refused() if claimed.is_probe:
            async with resources.database.transaction() as tx:
                await provider_state.resume(tx)
                await work.notify(tx, Work.SUBMIT)
            log.info("submission", action="resumed")
        case OutcomeUnknown(reason):
            log.warning(
                "submission", action="answer_lost", subject=claimed.subject.id, reason=reason
            )
        case _:
            pass


async def _learn_limit(resources: Resources, subject: Subject, now: datetime) -> None:
    """Lower the parallel limit for all workers, after a subject was refused by it (rule P56)."""
    configured, sent_at = resources.settings.provider_parallel, subject.claimed_at or now
    async with resources.database.transaction() as tx:
        before = await provider_state.lock_limit(tx)
        running = await provider_state.count_running(tx, sent_at)
        limit = after_refusal(before, configured, running=running, sent_at=sent_at, now=now)
        if limit == before:
            return
        await provider_state.save_limit(tx, limit)
    log.warning("submission", action="parallel_limit_learnt", limit=limit.tasks, running=running)
