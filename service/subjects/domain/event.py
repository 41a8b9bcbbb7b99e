"""Events, as subscribers are sent them and the event feed shows them: one for each move of a
subject that callers can see, and some about the health of a subscriber."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
from msgspec import Struct

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
    """What an account is told about the health of one of its subscribers."""

    FAILING = "failing"
    DISABLED = "disabled"
    RECOVERED = "recovered"


ERASED_EVENT_TYPE = "subject.deleted"  # of the last event of a subject: what it held was wiped
SUBSCRIBER_EVENT_TYPES = tuple(f"callsheet.subscriber.{notice}" for notice in HealthNotice)


class Event(Struct, frozen=True):
    """An event about a subject or about a subscriber: one of the two ids is set."""

    id: str  # `evt_…`, made of the id it is about and `sequence`: see event_id()
    subject_id: str | None  # None: it is about a subscriber
    account_id: str  # whose subject or subscriber it is about
    sequence: int  # counts the events about this subject or subscriber, from 1
    type: str  # of SUBJECT_EVENT_TYPES or SUBSCRIBER_EVENT_TYPES, or ERASED_EVENT_TYPE
    body: bytes  # JSON, encoded once: every subscriber is sent exactly these bytes
    created_at: datetime  # when what it tells of happened
    reference_type: str | None = None  # the subject's; None: it is about a subscriber
    tags: tuple[str, ...] = ()  # ids of the subject's tags
    about_subscriber_id: str | None = None  # None: it is about a subject


def event_id(owner_id: str, sequence: int) -> str:
    """The id of a subject's (or a subscriber's) n-th event: whoever computes it gets the same.

    It has no dot: one would be ambiguous in what Standard Webhooks signs,
    `{id}.{timestamp}.{body}`.
    """
    return f"evt_{owner_id.partition('_')[2]}_{sequence}"


def event_body(type_: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The JSON that is stored and sent. The order of its members matters to feed_entry() and to
    CloudEvents, which cut it without parsing it."""
    return orjson.dumps({"type": type_, "timestamp": format_rfc3339(at), "data": data})


def subject_event(subject: Subject) -> Event:
    """The event that says how a subject is now; its sequence is the subject's version."""
    data = public_subject(subject) | {"sequence": subject.version}
    type_ = SUBJECT_EVENT_TYPES[subject.state]
    return _about_subject(subject, type_, subject.updated_at, data, subject.tags)


def erased_event(tombstone: Subject, erased_at: datetime, tags: Sequence[str]) -> Event:
    """The event that says that what a subject held was wiped. Whoever wanted events of these tags,
    which it had before, is told."""
    data = public_subject(tombstone) | {"erased": True, "sequence": tombstone.version}
    return _about_subject(tombstone, ERASED_EVENT_TYPE, erased_at, data, tags)


def _about_subject(
    subject: Subject, type_: str, at: datetime, data: Mapping[str, Any], tags: Sequence[str]
) -> Event:
    return Event(
        id=event_id(subject.id, subject.version),
        subject_id=subject.id,
        account_id=subject.account_id,
        sequence=subject.version,
        type=type_,
        body=event_body(type_, at, data),
        created_at=at,
        reference_type=subject.reference_type,
        tags=tuple(tags),
    )


def subscriber_event(
    account_id: str,
    subscriber_id: str,
    sequence: int,
    notice: HealthNotice,
    now: datetime,
    **details: str | None,
) -> Event:
    """The event that tells an account about the health of its subscriber; `details` are further
    members of its data."""
    type_ = f"callsheet.subscriber.{notice}"
    data = {"subscriber_id": subscriber_id, **details, "sequence": sequence}
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
    """The JSON of an event in the feed: its body with its id in front, and with the name of its
    account, if one is given."""
    account_member = b"" if account is None else b'"account":' + orjson.dumps(account) + b","
    return b'{"id":"' + event_id.encode() + b'",' + account_member + body[1:]
