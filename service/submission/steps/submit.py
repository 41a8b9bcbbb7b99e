"""Submission: claim under a lease, call the provider outside any transaction, record the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from service.callbacks.domain.url_tokens import callback_token
from service.job_queue import Work
from service.kit.backoff import full_jitter
from service.kit.leases import Lease
from service.media.store import inline_media
from service.provider.domain import requests
from service.provider.domain.report_to_signal import status_update
from service.provider.remote.outcomes import (
    Accepted,
    AlreadyExists,
    CreateOutcome,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
)
from service.provider.steps import unreadable_answers
from service.resources import Resources, end_of_lease
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import TransitionGuard, transition
from service.submission.domain.parallel_limit import after_refusal, current_limit
from service.submission.store import claim as submission_claim
from service.submission.store import provider_state
from service.submission.store.provider_state import ProviderState

log = structlog.get_logger()

RETRY_BASE = 1.0  # seconds; the first wait after "later" is up to twice this
RETRY_CAP = 60.0
PROBE_INTERVAL = timedelta(minutes=1)  # while submission is stopped: rule P46


@dataclass(frozen=True, slots=True)
class ClaimedSubject:
    """A subject under our lease; `probe` if it is sent to see whether the provider goes on."""

    subject: Subject
    lease: Lease
    is_probe: bool


async def claim(resources: Resources, limit: int) -> Sequence[ClaimedSubject]:
    """At most `limit` queued subjects, as many as the provider has places free, under a lease."""
    now, token = resources.clock(), resources.new_id("lse")
    until = end_of_lease(resources, now)
    async with resources.database.transaction() as tx:
        await provider_state.lock_claims(tx)
        state = await provider_state.read(tx)
        resources.typical_durations.update(state.typical_durations)
        free = min(limit, _free_slots(resources, state, now))
        if free <= 0:
            return []
        claimed = await submission_claim.claim(
            tx, now=now, lease_until=until, token=token, limit=free
        )
        probe = state.stopped_code is not None
        if probe and claimed:
            await provider_state.set_next_probe(tx, now + PROBE_INTERVAL)
    return [ClaimedSubject(subject, Lease(token, subject.id, until), probe) for subject in claimed]


def _free_slots(resources: Resources, state: ProviderState, now: datetime) -> int:
    parallel = current_limit(state.parallel_limit, resources.settings.provider_parallel, now)
    if state.stopped_code is not None:
        due = state.next_probe_at is None or state.next_probe_at <= now
        parallel = min(parallel, state.tasks + due)  # one probe, where there is a place for it
    return parallel - state.tasks


async def submit(resources: Resources, claimed: ClaimedSubject) -> None:
    """Send one claimed subject to the provider, and record what came of it."""
    subject = claimed.subject
    inline: dict[str, bytes] = {}
    if requests.has_inline(subject.document):
        async with resources.database.autocommit() as tx:
            inline = await inline_media.by_subject(tx, subject.id)
    token = callback_token(resources.callback_key, subject.id)
    body = requests.create_body(
        subject.document,
        inline,
        external_task_id=subject.id,
        callback_url=f"{resources.settings.public_url}/callbacks/{token}",
    )
    # Else somebody could look it up, and find nothing, while the call is on its way.
    longest = timedelta(seconds=resources.settings.provider_timeout)
    if not claimed.lease.outlasts(resources.clock() + longest):
        log.warning("submission", action="lease_ran_out", subject=subject.id)
        return
    answer = await resources.provider.create(body)
    now = resources.clock()
    news = _status_update(resources, subject, answer, now)
    ours = TransitionGuard(claimed.lease.token)
    if isinstance(answer, ProviderStopped | RetryLater):
        # Nothing was created. The subject's move wakes whoever claims: they know the limit by then.
        await _learn_about_provider(resources, claimed, answer, now)
        await transition(resources, subject.id, news, ours)
    else:
        # The subject first: what is learnt of the provider is learnt again, an answer comes once.
        await transition(resources, subject.id, news, ours)
        await _learn_about_provider(resources, claimed, answer, now)
    await unreadable_answers.count_answer(resources, subject.id, answer)


def _status_update(
    resources: Resources, subject: Subject, answer: CreateOutcome, now: datetime
) -> StatusUpdate:
    """What the provider's answer says of this subject."""
    match answer:
        case Accepted(report):
            return status_update(report) or StatusUpdate(Signal.LOST)
        case AlreadyExists() | OutcomeUnknown():  # an earlier answer was lost, or this one was
            return StatusUpdate(Signal.LOST)
        case Refused(code, message):
            error = {"code": "provider_refused", "message": message, "provider_code": code}
            return StatusUpdate(Signal.REFUSED, error=error)
        case RetryLater(retry_after=retry_after, at_parallel_limit=at_parallel_limit):
            # Where there are too many, the learnt limit says how soon there is a place for it.
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
    """What the provider's answer says of the provider, for all workers to know."""
    match answer:
        case ProviderStopped(code, message):
            async with resources.database.transaction() as tx:
                await provider_state.stop(tx, code, message, now + PROBE_INTERVAL)
            log.error("submission", action="stopped", provider_code=code, message=message)
        case RetryLater(at_parallel_limit=True):
            await _learn_limit(resources, claimed.subject, now)
        case Accepted() | AlreadyExists() | Refused() if claimed.is_probe:
            async with resources.database.transaction() as tx:
                await provider_state.resume(tx)
            log.info("submission", action="goes_on")
            resources.worker_notifier.wake(Work.SUBMIT)
        case OutcomeUnknown(reason):
            log.warning(
                "submission", action="answer_lost", subject=claimed.subject.id, reason=reason
            )
        case _:
            pass


async def _learn_limit(resources: Resources, subject: Subject, now: datetime) -> None:
    """What it says of the parallel limit that this subject was refused for it."""
    most, sent_at = resources.settings.provider_parallel, subject.claimed_at or now
    async with resources.database.transaction() as tx:
        before = await provider_state.lock_limit(tx)
        running = await provider_state.count_running(tx, sent_at)
        limit = after_refusal(before, most, running=running, sent_at=sent_at, now=now)
        if limit == before:
            return
        await provider_state.save_limit(tx, limit)
    log.warning("submission", action="parallel_limit_learnt", limit=limit.tasks, running=running)
