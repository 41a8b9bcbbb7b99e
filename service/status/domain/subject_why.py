"""Why a subject that is not finished waits: a total function over its row and the conditions.

The deadline ends every waiting of a subject, so no `until` is later; only without a worker, and
while the database is held as a copy, does nothing end it.
"""

from datetime import datetime, timedelta
from typing import assert_never

from msgspec.structs import replace

from service.operations.domain.hold import HoldTarget
from service.status.domain.conditions import Conditions
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import WaitingView
from service.subjects.domain.why import Why, WhyCode, in_words


def subject_why(
    subject: WaitingView, conditions: Conditions, position: int | None, now: datetime
) -> Why | None:
    """Why a subject waits at `now`; None if it is finished. `position` is its place among the
    queued subjects of its account, from 1; None: it is not queued, or nobody has counted."""
    held_copy = conditions.held_copy(subject.updated_at, now)
    if subject.finished_at is None and held_copy is not None:
        return held_copy
    if subject.finished_at is None and subject.deadline <= now:
        why = conditions.due("ends it, as its deadline has passed", subject.deadline, now)
        return replace(why, code=WhyCode.DEADLINE_PASSED) if why.until else why
    match subject.state:
        case State.QUEUED:
            why = _queued(subject, conditions, position, now)
        case State.SUBMITTING:
            why = _submitting(subject, conditions, now)
        case State.UNCONFIRMED:
            why = _unconfirmed(subject, conditions, now)
        case State.SUBMITTED | State.PROCESSING:
            why = _with_provider(subject, conditions, now)
        case State.SUCCEEDED | State.FAILED | State.CANCELED:
            return None
        case _:
            assert_never(subject.state)
    return _within(why, subject, now)


def _within(why: Why, subject: WaitingView, now: datetime) -> Why:
    """The reason, with no `since` in the future and no `until` behind the subject's deadline. A
    worker that does not run ends nothing at a deadline either."""
    until = why.until
    if why.code is not WhyCode.NO_WORKER:
        until = subject.deadline if until is None else min(until, subject.deadline)
    return replace(why, since=min(why.since, now), until=until)


def _queued(
    subject: WaitingView, conditions: Conditions, position: int | None, now: datetime
) -> Why:
    if subject.media_check_at is not None:
        return _media(subject, subject.media_check_at, conditions, now)
    if subject.available_at > now:
        wait = in_words(subject.available_at - now)
        text = f"It may be sent to the provider in {wait}."
        if subject.attempts:
            text = f"It was sent {_tries(subject.attempts)} and not taken: again in {wait}."
        return Why(WhyCode.RETRY_AT, text, subject.updated_at, subject.available_at)
    ready_since = max(subject.updated_at, subject.available_at)
    held = conditions.held(HoldTarget.SUBMISSIONS, subject.account_id, ready_since, now)
    return held or _ready(subject, conditions, position, ready_since, now)


def _media(subject: WaitingView, check_at: datetime, conditions: Conditions, now: datetime) -> Why:
    since = subject.updated_at
    if subject.media_lease_token is not None and check_at > now:
        return Why(WhyCode.MEDIA_CHECK, "A worker is checking its media.", since, check_at)
    if check_at > now:
        text = (
            f"Its media were out of reach, {_tries(subject.media_check_attempts)}: "
            f"they are fetched again in {in_words(check_at - now)}."
        )
        return Why(WhyCode.MEDIA_RETRY, text, since, check_at)
    due = conditions.due("checks its media", check_at, now)
    if due.code is WhyCode.NO_WORKER:
        return due
    text = "Waits for a worker with room to check its media, which are given by URL."
    return Why(WhyCode.MEDIA_CHECK, text, check_at, None)


def _ready(
    subject: WaitingView,
    conditions: Conditions,
    position: int | None,
    since: datetime,
    now: datetime,
) -> Why:
    """Why a queued subject waits of which a worker may claim the first."""
    due = conditions.due("sends it to the provider", since, now)
    if due.code is WhyCode.NO_WORKER:
        return due
    free = conditions.parallel_limit(now) - conditions.with_provider
    if conditions.stopped_code is not None:
        return _stopped(conditions, conditions.stopped_code, since, now, has_room=free > 0)
    if free <= 0:
        return Why(WhyCode.PROVIDER_SLOTS, _slots(subject, conditions, position, now), since, None)
    if position is None or position > free:
        text = f"Accounts take turns{_before(position, ', and ', ' of its account are')}."
        return Why(WhyCode.ACCOUNT_TURN, text, since, None)
    return due


def _stopped(
    conditions: Conditions, code: int, since: datetime, now: datetime, *, has_room: bool
) -> Why:
    text = f"Submission is stopped by the provider's code {code}; one subject is sent as a probe"
    probe_at = conditions.next_probe_at
    if not has_room:
        text = f"{text} once a place is free."
        return Why(WhyCode.PROVIDER_STOPPED, text, since, None)
    if probe_at is None or probe_at <= now:
        return Why(WhyCode.PROVIDER_STOPPED, f"{text} now.", since, None)
    wait = in_words(probe_at - now)
    return Why(WhyCode.PROVIDER_STOPPED, f"{text} in {wait}.", since, probe_at)


def _slots(
    subject: WaitingView, conditions: Conditions, position: int | None, now: datetime
) -> str:
    """The sentence of one that waits for a place. How long that takes is reckoned by its own
    account's queue, as accounts are told nothing of each other: so it may take longer."""
    limit, used = conditions.parallel_limit(now), conditions.with_provider
    places = f"{used} of {limit} in use" if used <= limit else f"{used} in use, {limit} allowed"
    text = f"Waits for a place at the provider: {places}"
    if position is None:
        return f"{text}."
    seconds = position * conditions.typical_durations[subject.reference_type] / max(limit, 1)
    wait = in_words(timedelta(seconds=seconds))
    return f"{text}{_before(position, ', ', '')}, about {wait} or more."


def _submitting(subject: WaitingView, conditions: Conditions, now: datetime) -> Why:
    since, lease_until = subject.claimed_at or subject.updated_at, subject.lease_until
    if lease_until is None or lease_until <= now:
        return conditions.due("takes it over from one that has gone", lease_until or since, now)
    text = f"A worker is sending it to the provider: attempt {subject.attempts}."
    return Why(WhyCode.HELD_LEASE, text, since, lease_until)


def _unconfirmed(subject: WaitingView, conditions: Conditions, now: datetime) -> Why:
    text = "The provider's answer was lost: it is asked whether it has the subject"
    if subject.claimed_at is None:  # nobody here has sent it: installation/steps/look_ups.py
        text = "After a restore the provider is asked whether it has the subject"
    return _look_up(WhyCode.UNCONFIRMED_LOOK_UP, text, subject, conditions, now)


def _with_provider(subject: WaitingView, conditions: Conditions, now: datetime) -> Why:
    age = in_words(now - subject.updated_at)
    typical = in_words(timedelta(seconds=conditions.typical_durations[subject.reference_type]))
    text = (
        f"The provider has it, last heard of {age} ago and usually done in {typical}: "
        "it calls back, or is asked"
    )
    return _look_up(WhyCode.NEWS_DUE, text, subject, conditions, now)


def _look_up(
    code: WhyCode, text: str, subject: WaitingView, conditions: Conditions, now: datetime
) -> Why:
    """Why a subject waits about which the provider is asked; `text` goes on with when."""
    since, at = subject.updated_at, subject.next_poll_at
    if at is not None and at > now:
        return Why(code, f"{text} in {in_words(at - now)}.", since, at)
    due = conditions.due("asks the provider about it", at or since, now)
    return due if due.code is WhyCode.NO_WORKER else Why(code, f"{text} now.", since, None)


def _before(position: int | None, joint: str, whose: str) -> str:
    """How many are before a position, behind the joint; empty if nobody has counted."""
    return "" if position is None else f"{joint}{position - 1}{whose} before it"


def _tries(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
