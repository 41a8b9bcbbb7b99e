"""A subject as a value, and as the world sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from service.subjects.domain.lifecycle import TERMINAL, WITH_PROVIDER, Signal, State, makes_event


@dataclass(frozen=True, slots=True)
class Subject:
    """One row of `subjects`. Times are aware; `provider_updated_at` is the provider's own clock."""

    id: str
    account_id: str
    external_task_id: str | None
    fingerprint: str
    document: Mapping[str, Any]
    state: State
    version: int
    provider_task_id: str | None
    provider_updated_at: datetime | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    lease_token: str | None
    lease_until: datetime | None
    attempts: int
    claimed_at: datetime | None
    available_at: datetime
    poll_count: int
    next_poll_at: datetime | None
    deadline: datetime
    callback_subscriber_id: str | None  # the subscriber that stands for its callback_url
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    warnings: Sequence[Mapping[str, str]] | None = None  # each as an errors.FieldError

    @property
    def reference_type(self) -> str:
        return str(self.document["reference_type"])

    @property
    def tags(self) -> list[str]:
        """The ids of its tags, in the order given."""
        return [str(entry["tag_id"]) for entry in self.document.get("tag_list", ())]


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Something learnt about a subject: a signal, and what came with it."""

    signal: Signal
    provider_task_id: str | None = None
    provider_updated_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    retry_at: datetime | None = None  # with DEFERRED and ABSENT: when it may be claimed again


def apply_update(
    before: Subject, state: State, news: StatusUpdate, now: datetime, ask_at: datetime | None = None
) -> Subject:
    """The subject in its new state. Time does not run backwards, whoever's clock is behind.

    `ask_at` is when the provider is asked if nothing more is heard: at once if left out.
    """
    now = max(now, before.updated_at)
    finished = state in TERMINAL
    provider_times = (before.provider_updated_at, news.provider_updated_at)
    waits_for_news = state in WITH_PROVIDER and state is not State.SUBMITTING
    return replace(
        before,
        state=state,
        version=before.version + makes_event(before.state, state),
        provider_task_id=before.provider_task_id or news.provider_task_id,
        provider_updated_at=max(filter(None, provider_times), default=None),
        result=news.result if state is State.SUCCEEDED else None,
        error=news.error if state is State.FAILED else None,
        lease_token=None,
        lease_until=None,
        available_at=news.retry_at or before.available_at,
        poll_count=0,
        next_poll_at=(ask_at or now) if waits_for_news else None,
        updated_at=now,
        finished_at=now if finished else None,
    )
