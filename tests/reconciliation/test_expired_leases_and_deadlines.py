"""What was not called back about is asked for; what took too long is ended; nothing is stranded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.typing import EventDict

from service.job_queue import Work
from service.kit.errors import Unavailable
from service.reconciliation.cache.typical_durations import DEFAULT_DURATIONS
from service.reconciliation.steps import expired_leases_and_deadlines, poll
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient

USUALLY = DEFAULT_DURATIONS["image_refer"]
REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'too much' USING ERRCODE = '53000'; END$$
"""
ON_EVENTS = "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()"
NEVER = {"lose": True, "processing_after": 600, "finished_after": 600}


async def state(api: Api, subject_id: str) -> str:
    return str((await api.read(subject_id))["state"])


async def looked_up(provider: SimulatorClient) -> int:
    return len((await provider.ledger())["lookups"])


async def sent(api: Api, provider: SimulatorClient, **fault: Any) -> str:  # noqa: ANN401
    """A submitted subject whose callbacks are lost."""
    await provider.admin("faults", {"lose": True} | fault)
    subject_id: str = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    assert await state(api, subject_id) == "submitted"
    return subject_id


def actions(logged: list[EventDict]) -> list[object]:
    return [line.get("action") for line in logged]


async def test_with_every_callback_lost_a_subject_reaches_its_end_by_being_asked_for(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await sent(api, provider)
    await provider.wait_until_finished(subject_id)
    clock.advance(USUALLY - 0.1)
    before = await looked_up(provider)
    await api.work(Work.RECONCILE)
    assert await looked_up(provider) == before, "not before it usually takes"
    clock.advance(0.1)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "succeeded"
    assert await api.violations() == []


async def test_a_failure_that_nobody_called_back_about_is_found(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await sent(api, provider, fail="no face was found")
    await provider.wait_until_finished(subject_id)
    clock.advance(USUALLY)
    await api.work(Work.RECONCILE)
    assert (await api.read(subject_id))["error"]["message"] == "no face was found"


async def test_the_gaps_between_look_ups_widen(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await sent(api, provider, **NEVER)
    before, asked = await looked_up(provider), []
    for second in range(1, 41):
        clock.advance(1)
        await api.work(Work.RECONCILE)
        if await looked_up(provider) > before:
            before += 1
            asked.append(second)
    gaps = [later - earlier for earlier, later in zip([0, *asked], asked, strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] == USUALLY
    assert gaps[-1] > gaps[0]


@pytest.mark.parametrize("fault", [{"code": 5001}, {"code": 1000}, {"answer": "garbage"}])
async def test_a_look_up_without_an_answer_is_made_again(
    api: Api,
    provider: SimulatorClient,
    clock: Clock,
    logged: list[EventDict],
    fault: dict[str, Any],
) -> None:
    subject_id = await sent(api, provider)
    await provider.wait_until_finished(subject_id)
    await provider.admin("faults", fault | {"on": "query"})
    clock.advance(USUALLY)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    assert "no_answer" in actions(logged)
    clock.advance(USUALLY * 2)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "succeeded"


async def test_a_word_nobody_knows_is_reported_and_asked_about_again(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = await sent(api, provider, stuck=True, words={"processing": "pondering"})
    clock.advance(USUALLY)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    (line,) = [line for line in logged if line.get("action") == "unknown_status"]
    assert line["word"] == "pondering"


async def test_a_provider_that_forgets_what_it_took_changes_nothing(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = (await api.create())["id"]
    await transition(
        api.resources, subject_id, StatusUpdate(Signal.SUBMITTED, provider_task_id="gone")
    )
    clock.advance(USUALLY)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    assert logged[-1]["verdict"] == "anomaly"


async def test_a_lost_subject_that_never_arrived_is_sent_again_after_the_grace(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", {"answer": "drop", "code": 5002})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    grace = api.resources.settings.not_found_grace
    for _ in range(int(grace)):
        await api.work(Work.RECONCILE)
        assert await state(api, subject_id) == "unconfirmed", "it may still be on its way"
        clock.advance(1)
    clock.advance(grace)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "queued"
    clock.advance(60)
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
    accepted = [one["outcome"] for one in (await provider.ledger(subject_id))["creates"]]
    assert accepted.count("accepted") == 1
    assert await api.violations() == []


async def test_a_look_up_that_was_overtaken_by_a_new_submission_is_late(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    await provider.admin("faults", {"answer": "drop", "code": 5002})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    clock.advance(60)
    (stale,) = await poll.claim(api.resources, 1)
    await transition(api.resources, subject_id, StatusUpdate(Signal.ABSENT))
    (fresh,) = await submit.claim(api.resources, 1)
    await poll.poll(api.resources, stale)
    assert logged[-1]["verdict"] == "late"
    assert (fresh.subject.attempts, await state(api, subject_id)) == (2, "submitting")


async def test_a_lapsed_lease_is_taken_up_once_and_its_late_answer_changes_nothing(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", NEVER | {"times": None})
    subjects = [(await api.create())["id"] for _ in range(5)]
    claimed = await submit.claim(api.resources, 10)
    clock.advance(api.resources.settings.lease - 1)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await state(api, subjects[0]) == "submitting"
    clock.advance(1)
    await asyncio.gather(*(expired_leases_and_deadlines.sweep(api.resources) for _ in range(4)))
    assert {await state(api, one) for one in subjects} == {"unconfirmed"}
    clock.advance(-api.resources.settings.lease)  # the worker looked at its lease, and then slept
    for one in claimed:
        await submit.submit(api.resources, one)
    clock.advance(api.resources.settings.lease)
    assert {await state(api, one) for one in subjects} == {"unconfirmed"}
    await api.work(Work.RECONCILE)
    assert {await state(api, one) for one in subjects} == {"submitted"}
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


@pytest.mark.parametrize("reach", [queued, submitting, unconfirmed, processing])
async def test_whatever_takes_too_long_fails_at_its_deadline(
    api: Api,
    provider: SimulatorClient,
    clock: Clock,
    reach: Callable[[Api, SimulatorClient], Awaitable[str]],
) -> None:
    subject_id = await reach(api, provider)
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
    assert [await state(api, one) for one in (stuck, other)] == ["queued", "failed"]
    assert actions(logged).count("fault") == 1
    logged.clear()


MORE = """
    INSERT INTO subjects SELECT (
        jsonb_populate_record(s, jsonb_build_object('id', 'sub_' || lpad(n::text, 26, '0')))
    ).* FROM subjects s, generate_series(1, $1::int) n
"""
ENDED = "SELECT count(*) FROM events WHERE type = 'subject.failed'"


async def test_one_sweep_ends_more_than_a_batch_of_what_is_past_its_deadline(
    api: Api, clock: Clock
) -> None:
    await api.create()
    await fetch(api.resources, MORE, expired_leases_and_deadlines.BATCH_SIZE * 2)
    clock.advance(api.resources.settings.task_deadline)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await fetch(api.resources, "SELECT id FROM subjects WHERE state <> 'failed'") == []
    (row,) = await fetch(api.resources, ENDED)
    assert row["count"] == expired_leases_and_deadlines.BATCH_SIZE * 2 + 1


async def test_one_sweep_takes_up_more_than_a_batch_of_lapsed_leases(
    api: Api, clock: Clock
) -> None:
    await api.create()
    await submit.claim(api.resources, 1)
    await fetch(api.resources, MORE, expired_leases_and_deadlines.BATCH_SIZE * 2)
    clock.advance(api.resources.settings.lease)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await fetch(api.resources, "SELECT id FROM subjects WHERE state <> 'unconfirmed'") == []


async def test_sweeps_at_once_end_each_subject_once(api: Api, clock: Clock) -> None:
    await api.create()
    await fetch(api.resources, MORE, expired_leases_and_deadlines.BATCH_SIZE * 2)
    clock.advance(api.resources.settings.task_deadline)
    await asyncio.gather(*(expired_leases_and_deadlines.sweep(api.resources) for _ in range(4)))
    (row,) = await fetch(api.resources, ENDED)
    assert row["count"] == expired_leases_and_deadlines.BATCH_SIZE * 2 + 1


async def test_a_sweep_is_broken_off_when_postgres_is_overburdened(api: Api, clock: Clock) -> None:
    subject_id = (await api.create())["id"]
    await fetch(api.resources, REFUSE)
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
    await provider.admin("faults", NEVER)
    subject_id = (await api.create())["id"]
    clock.advance(api.resources.settings.task_deadline - 1)
    (claimed,) = await submit.claim(api.resources, 1)
    clock.advance(1)
    await expired_leases_and_deadlines.sweep(api.resources)
    await submit.submit(api.resources, claimed)
    subject = await api.read(subject_id)
    assert (subject["state"], subject["provider_task_id"]) == ("failed", None)
    assert await api.violations() == []
