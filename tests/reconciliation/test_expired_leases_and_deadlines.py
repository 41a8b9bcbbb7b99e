"""Expired leases are taken up once, and what is past its deadline fails."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.typing import EventDict

from service.kit.errors import Unavailable
from service.reconciliation.steps import expired_leases_and_deadlines
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.why import worker_listening

REFUSE_WRITES = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'too much' USING ERRCODE = '53000'; END$$
"""
ON_EVENTS = "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()"
NEVER_ENDS = {"lose": True, "processing_after": 600, "finished_after": 600}


async def state(api: Api, subject_id: str) -> str:
    return str((await api.read(subject_id))["state"])


def actions(logged: list[EventDict]) -> list[object]:
    return [line.get("action") for line in logged]


async def test_an_expired_lease_is_taken_up_once_and_its_late_answer_changes_nothing(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", NEVER_ENDS | {"times": None})
    subjects = [(await api.create())["id"] for _ in range(5)]
    claimed = await submit.claim(api.resources, 10)
    clock.advance(api.resources.settings.lease - 1)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await state(api, subjects[0]) == "submitting"
    clock.advance(1)
    await asyncio.gather(*(expired_leases_and_deadlines.sweep(api.resources) for _ in range(4)))
    assert {await state(api, subject_id) for subject_id in subjects} == {"unconfirmed"}
    clock.advance(-api.resources.settings.lease)  # the worker looked at its lease, and then slept
    for claimed_subject in claimed:
        await submit.submit(api.resources, claimed_subject)
    clock.advance(api.resources.settings.lease)
    assert {await state(api, subject_id) for subject_id in subjects} == {"unconfirmed"}
    await api.work(Work.RECONCILE)
    assert {await state(api, subject_id) for subject_id in subjects} == {"submitted"}
    assert await api.violations() == []


async def queued(api: Api, _provider: SimulatorClient) -> str:
    return str((await api.create())["id"])


async def submitting(api: Api, provider: SimulatorClient) -> str:
    subject_id = await queued(api, provider)
    await submit.claim(api.resources, 1)
    return subject_id


async def unconfirmed(api: Api, provider: SimulatorClient) -> str:
    subject_id = await submitting(api, provider)
    await transition(api.resources, subject_id, StatusUpdate(Signal.LOST))
    return subject_id


async def processing(api: Api, provider: SimulatorClient) -> str:
    subject_id = await unconfirmed(api, provider)
    await transition(
        api.resources, subject_id, StatusUpdate(Signal.PROCESSING, provider_task_id="1")
    )
    return subject_id


@pytest.mark.parametrize("reach_state", [queued, submitting, unconfirmed, processing])
async def test_a_subject_in_any_state_fails_at_its_deadline(
    api: Api,
    provider: SimulatorClient,
    clock: Clock,
    reach_state: Callable[[Api, SimulatorClient], Awaitable[str]],
) -> None:
    subject_id = await reach_state(api, provider)
    clock.advance(api.resources.settings.task_deadline - 0.1)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert (await api.read(subject_id))["finished_at"] is None
    clock.advance(0.1)
    await expired_leases_and_deadlines.sweep(api.resources)
    subject = await api.read(subject_id)
    assert (subject["state"], subject["error"]["code"]) == ("failed", "deadline_exceeded")
    assert (await api.event_types(subject_id))[-1] == "failed"
    rows = await fetch(api.resources, "SELECT lease_token, next_poll_at FROM subjects")
    assert [tuple(row.values()) for row in rows] == [(None, None)]


async def test_the_log_says_why_what_is_given_up_waited(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    ids = {(await api.create(name=name))["id"] for name in ("Ada", "Eve")}
    await fetch(api.resources, "UPDATE provider_state SET stopped_code = 1102")
    clock.advance(api.resources.settings.task_deadline)
    async with worker_listening(api.resources):
        await expired_leases_and_deadlines.sweep(api.resources)
    (line,) = [line for line in logged if line.get("action") == "given_up"]
    assert (line["why"], set(line["subjects"])) == ("provider_stopped", ids)
    clock.advance(1)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert actions(logged).count("given_up") == 1


async def test_a_subject_that_cannot_be_ended_does_not_keep_the_sweep_from_the_others(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    stuck, other = [(await api.create())["id"] for _ in range(2)]
    copy = (
        "INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)"
        " SELECT 'evt_x', subject_id, account_id, 2, type, body, created_at"
        " FROM events WHERE subject_id = $1"
    )
    await fetch(api.resources, copy, stuck)
    clock.advance(api.resources.settings.task_deadline)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert [await state(api, subject_id) for subject_id in (stuck, other)] == ["queued", "failed"]
    assert actions(logged).count("fault") == 1
    logged.clear()


COPY_SUBJECTS = """
    INSERT INTO subjects SELECT (
        jsonb_populate_record(s, jsonb_build_object('id', 'sub_' || lpad(n::text, 26, '0')))
    ).* FROM subjects s, generate_series(1, $1::int) n
"""
COUNT_FAILED = "SELECT count(*) FROM events WHERE type = 'subject.failed'"


async def test_one_sweep_ends_more_than_a_batch_of_subjects_past_their_deadline(
    api: Api, clock: Clock
) -> None:
    await api.create()
    await fetch(api.resources, COPY_SUBJECTS, expired_leases_and_deadlines.BATCH_SIZE * 2)
    clock.advance(api.resources.settings.task_deadline)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await fetch(api.resources, "SELECT id FROM subjects WHERE state <> 'failed'") == []
    (row,) = await fetch(api.resources, COUNT_FAILED)
    assert row["count"] == expired_leases_and_deadlines.BATCH_SIZE * 2 + 1


async def test_one_sweep_takes_up_more_than_a_batch_of_expired_leases(
    api: Api, clock: Clock
) -> None:
    await api.create()
    await submit.claim(api.resources, 1)
    await fetch(api.resources, COPY_SUBJECTS, expired_leases_and_deadlines.BATCH_SIZE * 2)
    clock.advance(api.resources.settings.lease)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await fetch(api.resources, "SELECT id FROM subjects WHERE state <> 'unconfirmed'") == []


async def test_sweeps_at_once_end_each_subject_once(api: Api, clock: Clock) -> None:
    await api.create()
    await fetch(api.resources, COPY_SUBJECTS, expired_leases_and_deadlines.BATCH_SIZE * 2)
    clock.advance(api.resources.settings.task_deadline)
    await asyncio.gather(*(expired_leases_and_deadlines.sweep(api.resources) for _ in range(4)))
    (row,) = await fetch(api.resources, COUNT_FAILED)
    assert row["count"] == expired_leases_and_deadlines.BATCH_SIZE * 2 + 1


async def test_a_sweep_is_broken_off_when_postgres_is_overburdened(api: Api, clock: Clock) -> None:
    subject_id = (await api.create())["id"]
    await fetch(api.resources, REFUSE_WRITES)
    await fetch(api.resources, ON_EVENTS)
    clock.advance(api.resources.settings.task_deadline)
    with pytest.raises(Unavailable):
        await expired_leases_and_deadlines.sweep(api.resources)
    await fetch(api.resources, "DROP FUNCTION refuse CASCADE")
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await state(api, subject_id) == "failed"


async def test_an_answer_that_comes_after_the_deadline_changes_nothing(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", NEVER_ENDS)
    subject_id = (await api.create())["id"]
    clock.advance(api.resources.settings.task_deadline - 1)
    (claimed,) = await submit.claim(api.resources, 1)
    clock.advance(1)
    await expired_leases_and_deadlines.sweep(api.resources)
    await submit.submit(api.resources, claimed)
    subject = await api.read(subject_id)
    assert (subject["state"], subject["provider_task_id"]) == ("failed", None)
    assert await api.violations() == []
