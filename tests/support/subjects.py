"""Subjects: as a value, in the database with their event, and in every state."""

from datetime import UTC, datetime, timedelta
from typing import Any

from service.intake.store import insert
from service.intake.store.insert import NewSubject
from service.kit.database.connection import Connection
from service.resources import Resources
from service.subjects.domain.event import HealthNotice, subject_event, subscriber_event
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import transition
from service.subjects.store import events
from service.subjects.store.events import NewEvent
from service.submission.steps import submit
from tests.support.api import Api


async def add_subject(tx: Connection, resources: Resources, account_id: str) -> Subject:
    """Add a subject and its event, without a commit."""
    subject = make_subject(id=resources.new_id("sub"), account_id=account_id)
    await insert.add_subjects(tx, [NewSubject(subject)])
    await events.append(tx, [NewEvent(subject_event(subject))])
    return subject


async def add_committed_subject(resources: Resources, account_id: str) -> Subject:
    async with resources.database.transaction() as tx:
        return await add_subject(tx, resources, account_id)


async def add_large_events(resources: Resources, account_id: str, count: int, size: int) -> None:
    """Add `count` events about a subscriber, of `size` bytes each."""
    subscriber_id = resources.new_id("sbr")
    made = [
        subscriber_event(
            account_id, subscriber_id, n, HealthNotice.FAILING, resources.clock(), why="x" * size
        )
        for n in range(1, count + 1)
    ]
    async with resources.database.transaction() as tx:
        await events.append(tx, [NewEvent(event) for event in made])


def ids_of(*made: Subject) -> list[str]:
    return [subject.id for subject in made]


RESULT = {"element_id": "7"}
ERROR = {"code": "provider_refused", "message": "no", "provider_code": 1301}

# The signals that bring a queued subject, or a submitted subscriber_id, to each state.
SIGNALS: dict[State, list[StatusUpdate]] = {
    State.QUEUED: [],
    State.SUBMITTING: [],
    State.UNCONFIRMED: [StatusUpdate(Signal.LOST)],
    State.SUBMITTED: [StatusUpdate(Signal.SUBMITTED, provider_task_id="1")],
    State.PROCESSING: [StatusUpdate(Signal.PROCESSING, provider_task_id="2")],
    State.SUCCEEDED: [StatusUpdate(Signal.SUCCEEDED, provider_task_id="3", result=RESULT)],
    State.FAILED: [StatusUpdate(Signal.REFUSED, error=ERROR)],
    State.CANCELED: [],
}


async def subject_in_state(api: Api, state: State) -> str:
    """Create a subject and bring it to this state; its id."""
    subject_id: str = (await api.create())["id"]
    if state is State.CANCELED:
        await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    elif state is not State.QUEUED:
        await submit.claim(api.resources, 1)
    for update in SIGNALS[state]:
        await transition(api.resources, subject_id, update)
    assert (await api.read(subject_id))["state"] == state
    return subject_id


NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def make_subject(**changes: Any) -> Subject:  # noqa: ANN401
    """A queued image subject, with changes to its fields."""
    values: dict[str, Any] = {
        "id": "sub_00000000000000000000000001",
        "account_id": "acc_1",
        "external_task_id": None,
        "fingerprint": "f",
        "document": {
            "element_name": "Ada",
            "element_description": "a test",
            "reference_type": "image_refer",
        },
        "state": State.QUEUED,
        "version": 1,
        "provider_task_id": None,
        "provider_updated_at": None,
        "result": None,
        "error": None,
        "lease_token": None,
        "lease_until": None,
        "attempts": 0,
        "claimed_at": None,
        "available_at": NOW,
        "poll_count": 0,
        "next_poll_at": None,
        "deadline": NOW + timedelta(days=36500),
        "callback_subscriber_id": None,
        "created_at": NOW,
        "updated_at": NOW,
        "finished_at": None,
        "erased_at": None,
        "warnings": None,
    }
    return Subject(**(values | changes))
