"""What subscribers and readers are told: one event for each move the world can see."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from service.core import ids
from service.core.lifecycle import State
from service.core.subjects import Subject, public, rfc3339

TYPES: dict[State, str] = {
    State.QUEUED: "subject.queued",
    State.SUBMITTED: "subject.submitted",
    State.PROCESSING: "subject.processing",
    State.SUCCEEDED: "subject.succeeded",
    State.FAILED: "subject.failed",
    State.CANCELED: "subject.canceled",
}


@dataclass(frozen=True, slots=True)
class Event:
    """`body` is the exact bytes that every subscriber is sent, encoded once."""

    id: str
    subject_id: str
    account_id: str
    sequence: int
    type: str
    body: bytes
    created_at: datetime


def event_of(subject: Subject) -> Event:
    """The event that says how this subject is now; its sequence is the subject's version."""
    type_ = TYPES[subject.state]
    data = public(subject) | {"sequence": subject.version}
    body = {"type": type_, "timestamp": rfc3339(subject.updated_at), "data": data}
    return Event(
        id=ids.event_id(subject.id, subject.version),
        subject_id=subject.id,
        account_id=subject.account_id,
        sequence=subject.version,
        type=type_,
        body=orjson.dumps(body),
        created_at=subject.updated_at,
    )


def in_feed(event_id: str, body: bytes) -> bytes:
    """An event as the feed shows it: the delivered body with its id in front."""
    return b'{"id":"' + event_id.encode() + b'",' + body[1:]
