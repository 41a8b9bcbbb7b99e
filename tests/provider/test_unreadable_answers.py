"""Unreadable answers of the provider are counted over all workers, and readiness reports them."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from structlog.typing import EventDict

from service.kit.database.database import Database
from service.local.ports import free_port
from service.operations.steps import readiness
from service.provider.cache.unreadable_answers import RESET_INTERVAL, UnreadableAnswerThrottle
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderApiKey
from service.provider.remote.outcomes import TaskNotFound, UnreadableResponse
from service.provider.steps import unreadable_answers
from service.provider.steps.unreadable_answers import DEGRADED_AFTER, RECENT
from service.reconciliation.steps import poll
from service.resources import Resources
from service.subjects.store import subjects
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.media_host import media_host
from tests.support.raw_servers import envelope_response, http_response, raw_server

PAGE = http_response(b"<h1>It works!</h1> Bearer a-provider-key", 502)
NOT_FOUND = envelope_response(1201, "Task not found", status=400)
OF_ANOTHER_TASK = envelope_response(
    0,
    data={
        "task_id": "179598315106800000",
        "task_status": "submitted",
        "task_info": {"external_task_id": "sub_of_another"},
        "created_at": 1781080778802,
        "updated_at": 1781080778802,
    },
)


async def look_up_with(resources: Resources, subject_id: str, answers: Iterable[bytes]) -> None:
    """Look a subject up once for each of these answers of the provider."""
    async with resources.database.transaction() as tx:
        found = await subjects.get(tx, subject_id)
    assert found is not None
    responses = list(answers)
    async with raw_server(responses) as server:
        client = ProviderClient(server.url, ProviderApiKey("a-provider-key"), 30.0, resources.clock)
        for _ in responses:
            await poll.poll(replace(resources, provider=client), found)
        await client.aclose()


async def provider_check(resources: Resources) -> str:
    return (await readiness.check_readiness(resources)).checks["provider"]


async def test_readiness_reports_unreadable_answers_once_they_go_on(api: Api, clock: Clock) -> None:
    made = await api.create()
    first = made["created_at"]
    await look_up_with(api.resources, made["id"], [PAGE] * (DEGRADED_AFTER - 1))
    assert await provider_check(api.resources) == "ok"
    clock.advance(60)
    await look_up_with(api.resources, made["id"], [PAGE])
    found = await readiness.check_readiness(api.resources)
    assert (found.usable, found.status) == (True, "degraded")
    reason = found.checks["provider"]
    assert reason.startswith(
        f"the last {DEGRADED_AFTER} answers could not be read, from {first} to "
    )
    await look_up_with(api.resources, made["id"], [NOT_FOUND])
    assert await provider_check(api.resources) == "ok"


@pytest.mark.parametrize("read", [NOT_FOUND, envelope_response(5000, "x"), OF_ANOTHER_TASK])
async def test_a_readable_answer_resets_the_count(api: Api, read: bytes) -> None:
    made = await api.create()
    await look_up_with(
        api.resources,
        made["id"],
        [PAGE] * (DEGRADED_AFTER - 1) + [read] + [PAGE] * (DEGRADED_AFTER - 1),
    )
    assert await provider_check(api.resources) == "ok"


async def test_readiness_reports_no_more_once_none_came_for_longer_than_look_ups_wait(
    api: Api, clock: Clock
) -> None:
    made = await api.create()
    await look_up_with(api.resources, made["id"], [PAGE] * DEGRADED_AFTER)
    clock.advance(RECENT.total_seconds())
    assert await provider_check(api.resources) != "ok"
    clock.advance(1)
    assert await provider_check(api.resources) == "ok"


async def test_a_readable_answer_resets_the_count_of_all_workers_within_seconds(
    api: Api, clock: Clock
) -> None:
    made = await api.create()
    other = replace(api.resources, unreadable_answer_throttle=UnreadableAnswerThrottle())
    await look_up_with(other, made["id"], [NOT_FOUND])
    await look_up_with(api.resources, made["id"], [PAGE] * DEGRADED_AFTER)
    clock.advance(RESET_INTERVAL.total_seconds())
    await look_up_with(other, made["id"], [NOT_FOUND])
    assert await provider_check(api.resources) == "ok"


async def test_answers_to_creates_count_too_and_are_logged_without_our_key(
    api: Api, logged: list[EventDict]
) -> None:
    async with media_host() as media, raw_server([PAGE]) as server:
        client = ProviderClient(
            server.url, ProviderApiKey("a-provider-key"), 30.0, api.resources.clock
        )
        resources = replace(api.resources, provider=client)
        for _ in range(DEGRADED_AFTER):
            await api.create(**media.images("front", "side"))
        await fetch(resources, "UPDATE subjects SET media_check_at = NULL")
        for claimed in await submit.claim(resources, DEGRADED_AFTER):
            await submit.submit(resources, claimed)
        await client.aclose()
    assert (await provider_check(resources)).startswith(f"the last {DEGRADED_AFTER} answers")
    lines = [line for line in logged if line.get("action") == "unreadable_answer"]
    assert len(lines) == DEGRADED_AFTER
    assert lines[0]["excerpt"] == "<h1>It works!</h1> Bearer ***"
    assert "HTTP 502" in lines[0]["reason"]
    assert not any("a-provider-key" in str(line) for line in logged)
    states = await fetch(resources, "SELECT DISTINCT state FROM subjects")
    assert states == [{"state": "unconfirmed"}]


async def test_a_count_that_cannot_be_kept_costs_no_answer(
    resources: Resources, logged: list[EventDict]
) -> None:
    away = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    nowhere = replace(resources, database=away)
    await unreadable_answers.count_answer(nowhere, "sub_1", UnreadableResponse("why", "what"))
    await unreadable_answers.count_answer(nowhere, "sub_1", TaskNotFound("Task not found"))
    await away.close()
    assert [line["action"] for line in logged if line["event"] == "provider"] == [
        "unreadable_answer",
        "answer_not_counted",
        "answer_not_counted",
    ]
