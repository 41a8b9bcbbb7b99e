"""A subject as a value, what can be learnt about it, and what it becomes by that."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from service.subjects.domain.lifecycle import POLLED, TERMINAL, Signal, State, makes_event
from service.subjects.domain.signal_record import NO_DETAILS, SignalDetails


class SubjectView(Struct, frozen=True):
    """What is read of a row of the table `subjects` to show it to a caller. All times are aware, in
    UTC."""

    id: str  # ours: `sub_…`; the provider has it as external_task_id
    account_id: str  # whose it is
    external_task_id: str | None  # the caller's own id, unique in the account; None: it gave none
    document: Mapping[str, Any]  # the validated request, as CreateRequest.document
    state: State  # lifecycle.py says what moves it on
    version: int  # counts the events of the subject, from 1
    attempts: int  # submissions begun
    available_at: datetime  # not claimed before this, while queued
    provider_task_id: str | None  # None until the provider has answered
    result: Mapping[str, Any] | None  # what the provider made; None unless succeeded
    error: Mapping[str, Any] | None  # `code`, `message` and perhaps more; None unless failed
    warnings: Sequence[Mapping[str, str]] | None  # each as an errors.FieldError; None: none
    created_at: datetime  # when the request was accepted
    updated_at: datetime  # when the state changed last
    finished_at: datetime | None  # None until the state is terminal
    erased_at: datetime | None  # when what it held was wiped; None: it was not

    @property
    def reference_type(self) -> str:
        """VIDEO or IMAGE."""
        return str(self.document["reference_type"])

    @property
    def tags(self) -> list[str]:
        """The ids of its tags, in the order given."""
        return [str(entry["tag_id"]) for entry in self.document.get("tag_list", ())]


class WaitingView(SubjectView, frozen=True):
    """What is read of a row to show it to a caller, and to say why it waits if it does."""

    deadline: datetime  # it fails when it has not ended by then
    claimed_at: datetime | None  # when the newest submission began; None before the first
    lease_until: datetime | None  # when a worker's lease ends; None unless submitting
    next_poll_at: datetime | None  # when the provider is asked; None: it is not to be
    # When its media are checked, or until when the lease of that check runs; None: they need none.
    media_check_at: datetime | None
    media_lease_token: str | None  # of the worker that checks its media; None: nobody does
    media_check_attempts: int  # checks that found media out of reach
    # When the provider was asked last to delete what it made of it; None: never.
    erasure_requested_at: datetime | None


class Subject(SubjectView, frozen=True):
    """A row of the table `subjects`: what is shown of it, and what workers need."""

    fingerprint: str  # SHA-256 (hex) of `document`: equal requests have the same
    deadline: datetime  # it fails when it has not ended by then
    provider_updated_at: datetime | None = None  # the newest it reported, by its own clock
    lease_token: str | None = None  # under which a worker has claimed it; None unless submitting
    lease_until: datetime | None = None  # when that lease ends
    claimed_at: datetime | None = None  # when the newest submission began; None before the first
    poll_count: int = 0  # polls since its state changed
    next_poll_at: datetime | None = None  # when the provider is polled; None: no poll is wanted
    callback_subscriber_id: str | None = None  # the hidden subscriber of its callback_url
    units: Decimal | None = None  # that the provider deducted; None until the end, or it is unknown


class StatusUpdate(Struct, frozen=True):
    """Something learnt about a subject: a signal, and what came with it."""

    signal: Signal  # what was learnt
    provider_task_id: str | None = None  # None: it was not named
    provider_updated_at: datetime | None = None  # by the provider's clock; None: it did not say
    result: Mapping[str, Any] | None = None  # with SUCCEEDED: what the provider made
    error: Mapping[str, Any] | None = None  # with FAILED, REFUSED, DEADLINE: why
    units: Decimal | None = None  # with SUCCEEDED, FAILED: what was deducted; None: unknown
    retry_at: datetime | None = None  # with DEFERRED and ABSENT: when it may be claimed again
    details: SignalDetails = NO_DETAILS  # how it was learnt; a callback is a row of its own


def apply_update(
    before: Subject,
    state: State,
    update: StatusUpdate,
    now: datetime,
    next_poll_at: datetime | None = None,
) -> Subject:
    """The subject after a move to `state`; the provider is polled at `next_poll_at` if it has the
    subject, at once if None. `updated_at` never goes back, whatever clock is behind."""
    now = max(now, before.updated_at)
    provider_times = (before.provider_updated_at, update.provider_updated_at)
    return replace(
        before,
        state=state,
        version=before.version + makes_event(before.state, state),
        provider_task_id=before.provider_task_id or update.provider_task_id,
        provider_updated_at=max(filter(None, provider_times), default=None),
        result=update.result if state is State.SUCCEEDED else None,
        error=update.error if state is State.FAILED else None,
        units=update.units if state in TERMINAL else None,
        lease_token=None,
        lease_until=None,
        available_at=update.retry_at or before.available_at,
        poll_count=0,
        next_poll_at=(next_poll_at or now) if state in POLLED else None,
        updated_at=now,
        finished_at=now if state in TERMINAL else None,
    )
