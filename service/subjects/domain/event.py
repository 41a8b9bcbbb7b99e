"""What subscribers and readers are told: one event for each move the world can see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from service.kit.timestamps import format_rfc3339
from service.subjects.domain.lifecycle import State
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import Subject

SUBJECT_EVENT_TYPES: dict[State, str] = {
    State.QUEUED: "subject.queued",
    State.SUBMITTED: "subject.submitted",
    State.PROCESSING: "subject.processing",
    State.SUCCEEDED: "subject.succeeded",
    State.FAILED: "subject.failed",
    State.CANCELED: "subject.canceled",
}


class HealthNotice(StrEnum):
    """What the account is told of a subscriber."""

    FAILING = "failing"
    DISABLED = "disabled"
    RECOVERED = "recovered"


SUBSCRIBER_EVENT_TYPES = tuple(
    f"callsheet.subscriber.{told}" for told in HealthNotice
)  # of the account's subscribers


@dataclass(frozen=True, slots=True)
class Event:
    """`body` is the exact bytes that every subscriber is sent, encoded once.

    It tells of a subject, or (`about_subscriber_id`) of a subscriber; `reference_type` and `tags`
    are the subject's.
    """

    id: str
    subject_id: str | None
    account_id: str
    sequence: int
    type: str
    body: bytes
    created_at: datetime
    reference_type: str | None = None
    tags: tuple[str, ...] = ()
    about_subscriber_id: str | None = None


def event_id(owner_id: str, sequence: int) -> str:
    """The id of a subject's (or a subscriber's) n-th event: whoever computes it gets the same.

    It has no dot: one would be ambiguous in what Standard Webhooks signs,
    `{id}.{timestamp}.{body}`.
    """
    return f"evt_{owner_id.partition('_')[2]}_{sequence}"


def event_body(type_: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The bytes that are stored and sent; what takes them apart goes by the order of members."""
    return orjson.dumps({"type": type_, "timestamp": format_rfc3339(at), "data": data})


def subject_event(subject: Subject) -> Event:
    """The event that says how this subject is now; its sequence is the subject's version."""
    type_ = SUBJECT_EVENT_TYPES[subject.state]
    data = public_subject(subject) | {"sequence": subject.version}
    return Event(
        id=event_id(subject.id, subject.version),
        subject_id=subject.id,
        account_id=subject.account_id,
        sequence=subject.version,
        type=type_,
        body=event_body(type_, subject.updated_at, data),
        created_at=subject.updated_at,
        reference_type=subject.reference_type,
        tags=tuple(tag["tag_id"] for tag in data["tag_list"]),
    )


def subscriber_event(
    account_id: str,
    subscriber_id: str,
    sequence: int,
    told: HealthNotice,
    now: datetime,
    **why: str | None,
) -> Event:
    """The event that tells an account how one of its subscribers does; the n-th about it."""
    type_ = f"callsheet.subscriber.{told}"
    data = {"subscriber_id": subscriber_id, **why, "sequence": sequence}
    return Event(
        id=event_id(subscriber_id, sequence),
        subject_id=None,
        account_id=account_id,
        sequence=sequence,
        type=type_,
        body=event_body(type_, now, data),
        created_at=now,
        about_subscriber_id=subscriber_id,
    )


def feed_entry(event_id: str, body: bytes, account: str | None = None) -> bytes:
    """An event as the feed shows it: the delivered body with its id in front; and with the name of
    its account, where that is given."""
    named = b"" if account is None else b'"account":' + orjson.dumps(account) + b","
    return b'{"id":"' + event_id.encode() + b'",' + named + body[1:]
