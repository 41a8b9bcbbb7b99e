"""Submission: under a lease, within the provider's limits, and as its answers say."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from asyncpg import UndefinedColumnError
from sqlalchemy import text
from structlog.typing import EventDict

from service.reconciliation.steps import expired_leases_and_deadlines
from service.settings import Settings
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.subjects.store import subjects as subject_store
from service.submission.steps import submit
from service.submission.store import provider_state
from service.wiring import open_resources
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.media_host import media_host
from tests.support.request_bodies import request_body
from tests.support.simulator import PATH, SimulatorClient

NEVER_ENDS = {"lose": True, "processing_after": 600, "finished_after": 600}


async def creates(provider: SimulatorClient, subject_id: str | None = None) -> list[str]:
    return [create["outcome"] for create in (await provider.ledger(subject_id))["creates"]]


async def state(api: Api, subject_id: str) -> str:
    return str((await api.read(subject_id))["state"])


async def states(api: Api) -> list[str]:
    rows = await fetch(api.resources, "SELECT state FROM subjects ORDER BY state")
    return [row["state"] for row in rows]


async def never_end_tasks(provider: SimulatorClient) -> None:
    """Tasks are accepted, never end, and nobody is called back."""
    await provider.admin("faults", NEVER_ENDS | {"times": None})


async def learnt_limit(api: Api) -> int | None:
    """The limit as it was learnt last."""
    async with api.resources.database.autocommit() as tx:
        limit = (await provider_state.read(tx)).parallel_limit
    return None if limit is None else limit.tasks


def with_parallel_limit(api: Api, limit: int) -> Api:
    settings = replace(api.resources.settings, provider_parallel=limit)
    return replace(api, resources=replace(api.resources, settings=settings))


async def test_a_subject_with_media_by_url_is_sent_with_those_urls(api: Api) -> None:
    async with media_host() as media:
        subject = await api.create(**media.images("front", "side"))
        await api.work(Work.CHECK_MEDIA)
        await api.work(Work.SUBMIT)
        assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"
        assert media.request_counts == {"front": 2, "side": 2}, "by us, and then by the provider"


async def test_a_subject_is_claimed_also_while_a_row_is_written_of_it(api: Api) -> None:
    subject = await api.create()
    held = text("SELECT 1 FROM subjects WHERE id = :id FOR KEY SHARE")  # as a foreign key has it
    async with api.resources.database.transaction() as tx:
        await tx.execute(held, {"id": subject["id"]})
        (claimed,) = await submit.claim(api.resources, 1)
    assert claimed.subject.id == subject["id"]


async def test_the_provider_never_has_more_tasks_than_the_parallel_limit(
    api: Api, provider: SimulatorClient
) -> None:
    api = with_parallel_limit(api, 3)
    await never_end_tasks(provider)
    for _ in range(5):
        await api.create()
    for _ in range(3):
        await api.work(Work.SUBMIT)
    assert await states(api) == ["queued"] * 2 + ["submitted"] * 3
    submitted_id = (
        await fetch(api.resources, "SELECT id FROM subjects WHERE state = 'submitted'")
    )[0]["id"]
    await transition(api.resources, submitted_id, StatusUpdate(Signal.FAILED, error={"code": "x"}))
    await api.work(Work.SUBMIT)
    assert await states(api) == ["failed", "queued"] + ["submitted"] * 3


@pytest.mark.parametrize("code", [1000, 1102, 1304])
async def test_a_stopped_provider_is_probed_once_a_minute_until_it_answers(
    api: Api, provider: SimulatorClient, clock: Clock, code: int
) -> None:
    await provider.admin("faults", {"code": code, "times": None})
    subjects = [(await api.create())["id"] for _ in range(4)]
    await with_parallel_limit(api, 1).work(Work.SUBMIT)
    assert len(await creates(provider)) == 1
    ready = await api.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert str(code) in ready.json()["checks"]["provider"]
    for minute in range(2, 4):
        clock.advance(59)
        await api.work(Work.SUBMIT)
        assert len(await creates(provider)) == minute - 1, "not before a minute has passed"
        clock.advance(1)
        await api.work(Work.SUBMIT)
        assert len(await creates(provider)) == minute, "one probe"
        assert await states(api) == ["queued"] * 4
    await provider.http.delete("/_simulator/faults")
    clock.advance(60)
    await api.work(Work.SUBMIT)
    for subject_id in subjects:
        await api.work(Work.SUBMIT)
        assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
    assert (await api.http.get("/readyz")).json()["status"] == "ready"


async def test_a_probe_that_is_refused_for_its_own_sake_shows_that_it_goes_on(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    await provider.admin("faults", [{"code": 1102}, {"code": 1301}])
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    clock.advance(60)
    await api.work(Work.SUBMIT)
    assert await state(api, subject_id) == "failed"
    assert "resumed" in [line.get("action") for line in logged]
    assert (await api.http.get("/readyz")).json()["status"] == "ready"


async def test_no_probe_is_sent_at_the_parallel_limit(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    api = with_parallel_limit(api, 2)
    await never_end_tasks(provider)
    await api.create()
    await api.work(Work.SUBMIT)
    await provider.http.delete("/_simulator/faults")
    await provider.admin("faults", [{"code": 1102}, {"lose": True, "stuck": True, "times": None}])
    for _ in range(3):
        await api.create()
    await api.work(Work.SUBMIT)
    other = (await fetch(api.resources, "SELECT id FROM subjects WHERE state = 'queued'"))[0]["id"]
    await transition(api.resources, other, StatusUpdate(Signal.SUBMITTED, provider_task_id="early"))
    clock.advance(60)
    await api.work(Work.SUBMIT)
    assert await states(api) == ["queued"] * 2 + ["submitted"] * 2
    assert len(await creates(provider)) == 2, "the provider is not probed beyond its places"


async def test_the_providers_own_limit_is_learnt_and_tried_again_within_seconds(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    api = with_parallel_limit(api, 8)
    await never_end_tasks(provider)
    await provider.admin("settings", {"parallel": 3})
    for _ in range(8):
        await api.create()
    await api.work(Work.SUBMIT)
    assert await states(api) == ["queued"] * 5 + ["submitted"] * 3
    assert await learnt_limit(api) == 4, "one step, however many were refused at once"
    clock.advance(2)
    await api.work(Work.SUBMIT)
    assert await learnt_limit(api) == 2, "a part of the three that ran"
    refused = (await creates(provider)).count("refused")
    clock.advance(0.9)
    await api.work(Work.SUBMIT)
    assert (await creates(provider)).count("refused") == refused, "the limit is kept for a second"
    await provider.admin("settings", {"parallel": None})
    for _ in range(8):
        clock.advance(1)
        await api.work(Work.SUBMIT)
    assert await states(api) == ["submitted"] * 8


async def test_one_stray_refusal_for_too_many_tasks_slows_the_rest_for_seconds_only(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    api = with_parallel_limit(api, 20)
    await provider.admin("faults", {"code": 1303})
    await api.create()
    await api.work(Work.SUBMIT)
    await never_end_tasks(provider)
    for _ in range(29):
        await api.create()
    await api.work(Work.SUBMIT)
    assert (await states(api)).count("submitted") == 10, "at once"
    clock.advance(11)
    await api.work(Work.SUBMIT)
    assert await states(api) == ["queued"] * 10 + ["submitted"] * 20
    assert (await creates(provider)).count("refused") == 1


async def test_a_task_refused_at_the_parallel_limit_does_not_wait_longer_each_time(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("settings", {"parallel": 0})
    subject_id = (await api.create())["id"]
    for _ in range(12):
        await api.work(Work.SUBMIT)
        clock.advance(2)
    await provider.admin("settings", {"parallel": None})
    await api.work(Work.SUBMIT)
    assert len(await creates(provider, subject_id)) == 13, "every two seconds"
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"


async def test_all_workers_share_what_is_learnt_of_the_limit(
    api: Api, provider: SimulatorClient, clock: Clock, settings: Settings
) -> None:
    await provider.admin("settings", {"parallel": 0})
    for _ in range(10):
        await api.create()
    await api.work(Work.SUBMIT)
    clock.advance(1)
    async with open_resources(settings) as other:
        another = replace(other, clock=clock, home=api.resources.home)
        claimed = await submit.claim(another, 10)
    assert len(claimed) == 5


async def test_the_answer_about_a_subject_is_written_even_if_what_it_says_of_the_provider_cannot_be(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", [{"code": 1102}, NEVER_ENDS])
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    clock.advance(60)
    (probe,) = await submit.claim(api.resources, 1)
    await fetch(api.resources, "ALTER TABLE provider_state RENAME COLUMN stopped_code TO hidden")
    with pytest.raises(UndefinedColumnError, match="stopped_code"):
        await submit.submit(api.resources, probe)
    written = await fetch(api.resources, "SELECT state FROM subjects WHERE id = $1", subject_id)
    assert written == [{"state": "submitted"}]


@pytest.mark.parametrize(
    ("code", "column"), [(1102, "stopped_code"), (1303, "observed_parallel_limit")]
)
async def test_a_stop_is_known_before_the_transition_that_wakes_the_claiming_loop(
    api: Api, provider: SimulatorClient, code: int, column: str
) -> None:
    await provider.admin("faults", [{"code": code, "http_status": 429}])
    subject_id = (await api.create())["id"]
    (claimed,) = await submit.claim(api.resources, 1)
    async with api.resources.database.transaction() as tx:
        await subject_store.lock(tx, subject_id)
        submitting = asyncio.create_task(submit.submit(api.resources, claimed))
        await wait_until_blocked(api.resources)
        [[learnt_limit]] = await fetch(api.resources, f"SELECT {column} FROM provider_state")  # noqa: S608
        assert learnt_limit is not None
    await submitting
    assert await state(api, subject_id) == "queued"


async def test_nothing_is_sent_when_the_lease_might_run_out_under_the_call(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = (await api.create())["id"]
    settings = api.resources.settings
    (claimed,) = await submit.claim(api.resources, 1)
    clock.advance(settings.lease - settings.provider_timeout + 0.1)
    await submit.submit(api.resources, claimed)
    assert await creates(provider) == []
    assert "lease_expired" in [line.get("action") for line in logged]
    assert await state(api, subject_id) == "submitting", "until the lease has ended"
    clock.advance(settings.provider_timeout)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await state(api, subject_id) == "unconfirmed"


@pytest.mark.parametrize("answer", ["garbage", "truncated", "drop"])
async def test_an_unreadable_answer_is_polled_for(
    api: Api, provider: SimulatorClient, answer: str
) -> None:
    await provider.admin("faults", NEVER_ENDS | {"answer": answer})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    assert await state(api, subject_id) == "unconfirmed"
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    assert await creates(provider) == ["accepted"]


async def test_an_answer_with_an_unknown_status_is_polled_for(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", NEVER_ENDS | {"words": {"submitted": "thinking"}})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    assert await state(api, subject_id) == "unconfirmed"
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "unconfirmed", "it is not guessed"


async def test_a_task_that_the_provider_has_already_is_polled_not_sent_again(
    api: Api, provider: SimulatorClient
) -> None:
    await never_end_tasks(provider)
    subject_id = (await api.create())["id"]
    sent = await provider.http.post(PATH, json=request_body(external_task_id=subject_id))
    assert sent.status_code == 200
    await api.work(Work.SUBMIT)
    assert await state(api, subject_id) == "unconfirmed"
    await api.work(Work.RECONCILE)
    subject: dict[str, Any] = await api.read(subject_id)
    assert subject["state"] == "submitted"
    assert subject["provider_task_id"] == sent.json()["data"]["task_id"]


async def test_a_task_that_is_another_subjects_says_nothing_about_this_one(
    api: Api, logged: list[EventDict]
) -> None:
    first, second = [(await api.create())["id"] for _ in range(2)]
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
    await submit.claim(api.resources, 2)
    await transition(api.resources, first, update)
    await transition(api.resources, second, update)
    assert [await state(api, subject_id) for subject_id in (first, second)] == [
        "submitted",
        "unconfirmed",
    ]
    (line,) = [line for line in logged if line.get("action") == "provider_task_conflict"]
    assert (line["subject"], line["owner"]) == (second, first)


async def test_an_update_of_an_unknown_subject_is_ignored(api: Api) -> None:
    assert await transition(api.resources, "sub_none", StatusUpdate(Signal.LOST)) is None
