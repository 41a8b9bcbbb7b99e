"""A subject as a value, and as the world sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from service.core.capabilities import USABLE_WITH
from service.core.kinds import IMAGE_LIST, VIDEO_LIST
from service.core.lifecycle import TERMINAL, WITH_PROVIDER, Signal, State, makes_event
from service.core.timestamps import rfc3339


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


def public(subject: Subject) -> dict[str, Any]:
    """The subject as callers see it, in answers and in events alike.
    There are `warnings` only where there is one."""
    document = subject.document
    warnings = {"warnings": subject.warnings} if subject.warnings else {}
    return {
        "id": subject.id,
        "external_task_id": subject.external_task_id,
        "provider_task_id": subject.provider_task_id,
        "state": subject.state.value,
        "version": subject.version,
        "reference_type": document["reference_type"],
        "element_name": document["element_name"],
        "element_description": document["element_description"],
        "element_voice_id": document.get("element_voice_id"),
        "tag_list": document.get("tag_list", []),
        "subject": _made(subject.result),
        "usable_with": _usable_with(subject),
        "error": subject.error,
        "created_at": rfc3339(subject.created_at),
        "updated_at": rfc3339(subject.updated_at),
        "finished_at": rfc3339(subject.finished_at),
        **warnings,
    }


def _made(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the provider made, without its media: only records in the provider's shape have them."""
    if result is None:
        return None
    return {name: value for name, value in result.items() if name not in (IMAGE_LIST, VIDEO_LIST)}


def _usable_with(subject: Subject) -> list[str] | None:
    """The models that take it, by all of their names; None for what has not been made."""
    made = subject.state is State.SUCCEEDED
    return list(USABLE_WITH[subject.reference_type]) if made else None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Something learnt about a subject: a signal, and what came with it."""

    signal: Signal
    provider_task_id: str | None = None
    provider_updated_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    retry_at: datetime | None = None  # with DEFERRED and ABSENT: when it may be claimed again


def moved(
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
