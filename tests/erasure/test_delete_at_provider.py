"""Deletions at the provider: durable work, which ends whatever is lost or refused on the way."""

import asyncio

import pytest
from structlog.typing import EventDict

from service.erasure.domain.erasure import ErasureState
from service.erasure.steps import delete_at_provider
from service.reconciliation.steps import expired_leases_and_deadlines
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from service.worker import make_work_loops
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.metrics import MetricChanges
from tests.support.provider_deletions import ask, deletes, erasure_of, made_subject
from tests.support.simulator import SimulatorClient
from tests.support.subjects import subject_in_state
from tests.support.work import work_notifications


def actions(logged: list[EventDict]) -> list[object]:
    return [line["action"] for line in logged if str(line.get("action")).startswith("erasure_")]


async def test_the_element_is_deleted_at_the_provider(
    api: Api, provider: SimulatorClient, logged: list[EventDict]
) -> None:
    subject_id = await made_subject(api)
    changes = MetricChanges()
    assert (await ask(api, subject_id)).state is ErasureState.PENDING
    await api.work(Work.ERASE)
    erasure = await erasure_of(api, subject_id)
    assert (erasure.state, erasure.attempts, erasure.error) == (ErasureState.DONE, 1, None)
    assert erasure.finished_at == api.resources.clock()
    record = (await provider.query(subject_id)).json()["data"]
    assert record["task_result"]["elements"][0]["status"] == "deleted"
    assert actions(logged) == ["erasure_requested", "erasure_done"]
    assert changes.of("erasures_total") == {("done",): 1}


async def test_workers_are_told_of_a_deletion_when_it_is_asked_for(api: Api) -> None:
    subject_id = await made_subject(api)
    async with work_notifications(api.resources) as committed:
        await ask(api, subject_id)
        assert await committed() == [Work.ERASE]
        await ask(api, subject_id)
        assert await committed() == []


async def test_what_is_gone_there_already_is_done(api: Api, provider: SimulatorClient) -> None:
    subject_id = await made_subject(api)
    await api.resources.provider.delete((await ask(api, subject_id)).element_id or "")
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert await deletes(provider) == ["done", "refused"]


async def test_a_refusal_ends_it_with_the_providers_words_and_it_may_be_asked_for_again(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 1103, "message": "not yours"})
    await ask(api, subject_id)
    await api.work(Work.ERASE)
    failed = await erasure_of(api, subject_id)
    assert (failed.state, failed.next_try_at) == (ErasureState.FAILED, None)
    assert failed.error == {
        "code": "provider_refused",
        "message": "not yours",
        "provider_code": 1103,
    }
    await api.work(Work.ERASE)
    clock.advance(10)
    again = await ask(api, subject_id)
    assert (again.state, again.attempts, again.error) == (ErasureState.PENDING, 0, None)
    assert again.requested_at == clock()
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert actions(logged) == [
        *("erasure_requested", "erasure_failed"),
        *("erasure_requested", "erasure_done"),
    ]
    assert await deletes(provider) == ["refused", "done"]


async def test_one_that_is_done_stays_done(api: Api, provider: SimulatorClient) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    await api.work(Work.ERASE)
    assert (await ask(api, subject_id)).state is ErasureState.DONE
    await api.work(Work.ERASE)
    assert await deletes(provider) == ["done"]


async def test_while_the_provider_cannot_it_is_tried_later_each_time(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 5001, "times": 2})
    await ask(api, subject_id)
    for wait in (5, 10):
        await api.work(Work.ERASE)
        erasure = await erasure_of(api, subject_id)
        assert (erasure.state, erasure.lease_token) == (ErasureState.PENDING, None)
        assert erasure.error is not None
        assert erasure.error["code"] == "provider_unavailable"
        before = len(await deletes(provider))
        clock.advance(wait - 0.001)
        await api.work(Work.ERASE)
        assert len(await deletes(provider)) == before
        clock.advance(0.001)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert actions(logged) == [
        *("erasure_requested", "erasure_deferred", "erasure_deferred", "erasure_done"),
    ]


@pytest.mark.parametrize("fault", [{"answer": "drop"}, {"code": 5002, "accept": True}])
async def test_a_lost_answer_to_a_delete_that_was_done_costs_another_try(
    api: Api, provider: SimulatorClient, clock: Clock, fault: dict[str, object]
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete"} | fault)
    await ask(api, subject_id)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.PENDING
    clock.advance(5)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert await deletes(provider) == ["done", "refused"]


async def test_the_last_try_gives_up_with_its_reason(api: Api, provider: SimulatorClient) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    await fetch(api.resources, "UPDATE erasures SET attempts = 79")
    await provider.admin("faults", {"on": "delete", "code": 5000})
    await api.work(Work.ERASE)
    erasure = await erasure_of(api, subject_id)
    assert erasure.state is ErasureState.FAILED
    assert erasure.error is not None
    assert erasure.error["code"] == "given_up"


async def test_a_worker_that_dies_after_the_providers_answer_costs_only_its_lease(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    [claimed] = await delete_at_provider.claim(api.resources, 5)
    await api.resources.provider.delete(claimed.erasure.element_id or "")
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.PENDING
    clock.advance(api.resources.settings.lease)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert await deletes(provider) == ["done", "refused"]


async def test_a_worker_that_comes_back_after_its_lease_records_nothing(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    [stale] = await delete_at_provider.claim(api.resources, 5)
    clock.advance(api.resources.settings.lease)
    [fresh] = await delete_at_provider.claim(api.resources, 5)
    changes = MetricChanges()
    await provider.admin("faults", {"on": "delete", "code": 1103})
    await delete_at_provider.delete(api.resources, stale)
    assert await erasure_of(api, subject_id) == fresh.erasure
    await delete_at_provider.delete(api.resources, fresh)
    await delete_at_provider.delete(api.resources, stale)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert changes.of("erasures_total") == {("done",): 1}


async def test_two_workers_share_the_work_and_do_nothing_twice(
    api: Api, provider: SimulatorClient
) -> None:
    for name in "abcde":
        await ask(api, await made_subject(api, name))
    loops = [make_work_loops(api.resources)[Work.ERASE] for _ in range(2)]
    await asyncio.gather(*(loop.drain() for loop in loops))
    await asyncio.gather(*(loop.finish(30) for loop in loops))
    await api.work(Work.ERASE)
    assert await deletes(provider) == ["done"] * 5


async def test_while_the_provider_refuses_the_account_one_is_tried_a_minute(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    ids = [await made_subject(api, name) for name in "abcde"]
    for subject_id in ids:
        await ask(api, subject_id)
    await provider.admin("faults", {"on": "delete", "code": 1101, "times": None})
    await api.work(Work.ERASE)
    tried = len(await deletes(provider))
    assert tried <= 2  # what was claimed together
    for minute in range(1, 4):
        await api.work(Work.ERASE)
        clock.advance(60)
        await api.work(Work.ERASE)
        assert len(await deletes(provider)) == tried + minute
    found = [await erasure_of(api, subject_id) for subject_id in ids]
    assert {erasure.attempts for erasure in found} == {0}
    assert {(erasure.error or {}).get("code") for erasure in found} == {"provider_stopped", None}
    await provider.http.delete("/_simulator/faults")
    clock.advance(60)
    await api.work(Work.ERASE)
    await api.work(Work.ERASE)
    found = [await erasure_of(api, subject_id) for subject_id in ids]
    assert {erasure.state for erasure in found} == {ErasureState.DONE}


async def test_a_probe_that_gets_no_answer_lets_the_others_wait_on(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    await provider.admin("faults", {"on": "delete", "code": 1002})
    await provider.admin("faults", {"on": "delete", "answer": "drop", "accept": False})
    for _ in range(2):
        await api.work(Work.ERASE)
        erasure = await erasure_of(api, subject_id)
        assert (erasure.stopped, erasure.attempts) == (True, 0)
        clock.advance(60)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE


async def test_what_it_made_of_one_that_failed_here_at_its_deadline_is_found_and_deleted(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", {"lose": True})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    await provider.wait_until_finished(subject_id)
    clock.advance(api.resources.settings.task_deadline)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert (await api.read(subject_id))["error"]["code"] == "deadline_exceeded"
    assert (await ask(api, subject_id)).element_id is None
    await api.work(Work.ERASE)
    await api.work(Work.ERASE)
    erasure = await erasure_of(api, subject_id)
    assert (erasure.state, erasure.element_id is None) == (ErasureState.DONE, False)
    assert await deletes(provider) == ["done"]


async def test_one_that_the_provider_never_had_is_done_once_a_create_cannot_come_any_more(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await subject_in_state(api, State.FAILED)
    await ask(api, subject_id)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.PENDING
    clock.advance(api.resources.settings.not_found_grace)
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert await deletes(provider) == []


async def test_nothing_is_asked_about_one_that_was_never_sent(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await subject_in_state(api, State.CANCELED)
    assert (await ask(api, subject_id)).state is ErasureState.DONE
    await api.work(Work.ERASE)
    ledger = await provider.ledger()
    assert ledger["deletes"] == ledger["lookups"] == []


async def test_a_deletion_goes_on_when_its_subject_is_gone(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    await fetch(api.resources, "DELETE FROM subjects")
    await api.work(Work.ERASE)
    assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
    assert await deletes(provider) == ["done"]
