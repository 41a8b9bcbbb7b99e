"""How long what has ended is kept, as the settings say, and until when a finished subject is."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Protocol

from service.kit.timestamps import format_rfc3339
from service.retention.domain.kinds import OUTCOMES, Kind
from service.subjects.domain.subject import SubjectView


class Days(Protocol):
    """The settings of retention, in days; 0 is for ever."""

    @property
    def retention_succeeded_days(self) -> int: ...
    @property
    def retention_failed_days(self) -> int: ...
    @property
    def retention_canceled_days(self) -> int: ...
    @property
    def retention_callbacks_days(self) -> int: ...
    @property
    def retention_answers_days(self) -> int: ...
    @property
    def retention_actions_days(self) -> int: ...
    @property
    def retention_snapshot_days(self) -> int: ...


_DAYS: Final = {
    Kind.SUCCEEDED: attrgetter("retention_succeeded_days"),
    Kind.FAILED: attrgetter("retention_failed_days"),
    Kind.CANCELED: attrgetter("retention_canceled_days"),
    Kind.CALLBACKS: attrgetter("retention_callbacks_days"),
    Kind.ANSWERS: attrgetter("retention_answers_days"),
    Kind.ACTIONS: attrgetter("retention_actions_days"),
    Kind.OPERATIONS: attrgetter("retention_actions_days"),
    Kind.SNAPSHOT: attrgetter("retention_snapshot_days"),
}


def kept_for(settings: Days) -> Mapping[Kind, timedelta | None]:
    """How long each kind is kept that has an age; None: for ever. Events about subscribers are kept
    as long as the subjects that are kept longest."""
    days: dict[Kind, int] = {kind: of(settings) for kind, of in _DAYS.items()}
    subjects = [days[kind] for kind in OUTCOMES.values()]
    days[Kind.SUBSCRIBER_EVENTS] = max(subjects) if all(subjects) else 0
    return {kind: timedelta(days=number) if number else None for kind, number in days.items()}


def kept_until(subject: SubjectView, settings: Days) -> datetime | None:
    """Until when a finished subject is kept at least; None: for ever. One that was erased is as old
    as what tells of that."""
    days = _DAYS[OUTCOMES[subject.state]](settings)
    ended_at = subject.erased_at or subject.finished_at
    return ended_at + timedelta(days=days) if ended_at and days else None


def kept_until_member(subject: SubjectView, settings: Days) -> dict[str, Any]:
    """The member `kept_until` of a subject as callers see it; empty while it is not finished."""
    if subject.finished_at is None:
        return {}
    return {"kept_until": format_rfc3339(kept_until(subject, settings))}
