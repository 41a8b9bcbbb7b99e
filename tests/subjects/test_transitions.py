"""Transitions are written whole or not at all, and only over the state that was read."""

import pytest
from msgspec.structs import replace

from service.kit.database.guards import GuardFailed
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject, apply_update
from service.subjects.store import subjects as subject_store
from service.subjects.store import transitions
from service.subjects.store.events import NewEvent
from service.subjects.store.transitions import Transition
from tests.support.api import Api
from tests.support.database import executed_statements, fetch

REPORTED = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
ENDED = StatusUpdate(Signal.SUCCEEDED, result={"element_id": "7"})


async def read(resources: Resources, subject_id: str) -> Subject:
    async with resources.database.transaction() as tx:
        subject = await subject_store.lock(tx, subject_id)
    assert subject is not None
    return subject


def events_of(*subjects: Subject) -> tuple[NewEvent, ...]:
    return tuple(NewEvent(subject_event(subject)) for subject in subjects)


async def test_a_transition_of_a_subject_that_has_changed_is_refused_and_nothing_is_written(
    api: Api,
) -> None:
    resources = api.resources
    stale = await read(resources, (await api.create())["id"])
    assert (await api.http.post(f"/v1/subjects/{stale.id}/cancel")).status_code == 200
    after = apply_update(stale, State.SUBMITTED, REPORTED, resources.clock())
    transition = Transition(stale, after, events=events_of(replace(after, version=3)))
    with pytest.raises(GuardFailed):
        async with resources.database.transaction() as tx:
            await transitions.write(tx, [transition])
    assert await api.event_types(stale.id) == ["queued", "canceled"]


async def test_no_transitions_write_nothing(resources: Resources) -> None:
    with executed_statements() as statements:
        async with resources.database.transaction() as tx:
            await transitions.write(tx, [])
    assert statements == []


async def test_one_statement_moves_several_subjects_and_writes_several_events_of_each(
    api: Api,
) -> None:
    resources = api.resources
    await api.subscribe("http://127.0.0.1:65009")
    before = [await read(resources, (await api.create())["id"]) for _ in range(3)]
    now = resources.clock()
    written = []
    for number, subject in enumerate(before):
        first = apply_update(
            subject, State.SUBMITTED, replace(REPORTED, provider_task_id=str(number)), now
        )
        second = apply_update(first, State.SUCCEEDED, ENDED, now)
        written.append(Transition(subject, second, events=events_of(first, second)))
    async with resources.database.transaction() as tx:
        await transitions.write(tx, written)
    for subject in before:
        assert await api.event_types(subject.id) == ["queued", "submitted", "succeeded"]
        due = await fetch(
            resources,
            "SELECT due_at IS NOT NULL AS due FROM deliveries WHERE ordering_key = $1"
            " ORDER BY sequence",
            subject.id,
        )
        assert [row["due"] for row in due] == [True, False, False], "one after the other"
    assert await api.violations() == []
