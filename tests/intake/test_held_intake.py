"""A held intake refuses what is new, for now; what was accepted before is answered as ever."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from arq.connections import ArqRedis
from structlog.typing import EventDict

from service import jobs
from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.intake.domain.create_request import CreateRequest
from service.intake.steps.accept import accept_batch
from service.intake.steps.validate import validate
from service.kit.errors import IntakeHeld
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from tests.accounts.test_operator_reads import COMPAT, client
from tests.submission.test_claim import create_account
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.holds import hold, release
from tests.support.request_bodies import JPEG_BASE64, PNG_IMAGE, image_list, request_body
from tests.support.waiting import wait_until
from tests.support.work import work_notifications
from tests.support.worker import logged_actions, running_worker, settings_without_sweeps

WRITTEN = """
    SELECT (SELECT count(*) FROM subjects), (SELECT count(*) FROM events),
        (SELECT count(*) FROM deliveries), (SELECT count(*) FROM idempotency_keys)
"""


@pytest.fixture
async def other(api: Api) -> AsyncIterator[Api]:
    """A caller of another account."""
    async with client(api, "other", DEFAULT_SCOPES) as other:
        yield other


async def written(resources: Resources) -> list[int]:
    """How many rows there are of each kind that a request writes."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        return list(await connection.fetchrow(WRITTEN))
    finally:
        await connection.close()


def is_held(answer: httpx.Response, retry_after: str = "60") -> None:
    assert (answer.status_code, answer.headers["retry-after"]) == (503, retry_after)
    assert answer.json() | {"request_id": "any"} == {
        "request_id": "any",
        "type": "about:blank",
        "title": "New requests are not taken for now; send it again later.",
        "status": 503,
        "code": "intake_held",
    }


async def post(api: Api, key: str | None = None, **changes: Any) -> httpx.Response:  # noqa: ANN401
    headers = {} if key is None else {"idempotency-key": key}
    return await api.http.post("/v1/subjects", json=request_body(**changes), headers=headers)


@pytest.mark.parametrize("account", [{}, {"account": "acme"}])
async def test_a_new_request_is_refused_and_leaves_nothing(
    api: Api, account: dict[str, str]
) -> None:
    await api.subscribe("http://127.0.0.1:65009/")
    made = await hold(api.resources, "intake", **account)
    async with work_notifications(api.resources) as committed:
        is_held(await post(api))
        is_held(await post(api, "a-key", external_task_id="mine"))
        assert await committed() == []
    assert await written(api.resources) == [0, 0, 0, 0]
    await release(api.resources, made)
    assert (await post(api, "a-key", external_task_id="mine")).status_code == 202
    assert await written(api.resources) == [1, 1, 1, 1]


async def test_large_images_of_what_is_refused_are_not_written(api: Api) -> None:
    """Where they are written, it is before the subject, and in a transaction of their own."""
    large = image_list(base64.b64encode(PNG_IMAGE.ljust(300_000, b"\0")).decode(), JPEG_BASE64)
    made = await hold(api.resources, "intake", account="acme")
    is_held(await post(api, element_image_list=large))
    batch = {"subjects": [request_body(element_image_list=large), request_body()]}
    answer = await api.http.post("/v1/subjects/batch", json=batch)
    assert [item["status"] for item in answer.json()["data"]] == [503, 503]
    assert await fetch(api.resources, "SELECT hash FROM media") == []
    await release(api.resources, made)
    first = await post(api, "a-key", element_image_list=large)
    assert first.status_code == 202
    await hold(api.resources, "intake")
    again = await post(api, "a-key", element_image_list=large)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert len(await fetch(api.resources, "SELECT hash FROM media")) == 2


async def test_it_may_be_sent_again_when_the_longest_hold_is_over(api: Api, clock: Clock) -> None:
    for seconds in (90, 300):
        until = format_rfc3339(clock() + timedelta(seconds=seconds))
        await hold(api.resources, "intake", until=until)
    is_held(await post(api), "300")
    clock.advance(299.5)
    is_held(await post(api), "1")
    clock.advance(0.5)
    assert (await post(api)).status_code == 202


async def test_of_a_hold_with_an_end_and_one_without_the_latter_counts(
    api: Api, clock: Clock
) -> None:
    until = format_rfc3339(clock() + timedelta(seconds=300))
    await hold(api.resources, "intake", until=until)
    await hold(api.resources, "intake")
    is_held(await post(api), "60")


async def test_repeats_of_what_was_accepted_get_their_answer(api: Api) -> None:
    first = await post(api, "a-key", external_task_id="mine")
    await hold(api.resources, "intake")
    for key in ("a-key", None, "another-key"):
        again = await post(api, key, external_task_id="mine")
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert await written(api.resources) == [1, 1, 0, 2], "the other key is bound, as ever"
    reused = await post(api, "a-key", element_name="Eve")
    assert reused.json()["code"] == "idempotency_key_reused"


async def test_one_account_is_held_while_others_are_accepted(api: Api, other: Api) -> None:
    """These do not lock its row, which all of them would have to do one after the other."""
    await hold(api.resources, "intake", account="acme")
    assert (await post(other)).status_code == 202
    assert await fetch(api.resources, "SELECT id FROM holds WHERE xmax <> 0") == []
    is_held(await post(api))
    assert len(await fetch(api.resources, "SELECT id FROM holds WHERE xmax <> 0")) == 1


async def test_requests_of_several_accounts_that_arrive_together_are_decided_each_by_its_own(
    resources: Resources, account: str
) -> None:
    accounts = [account, await create_account(resources, "b"), await create_account(resources, "c")]
    for name in ("acme", "b"):
        await hold(resources, "intake", account=name)

    def request(account_id: str, name: str) -> CreateRequest:
        body = request_body(external_task_id=name, callback_url="http://127.0.0.1:65009/")
        return validate(resources.settings, account_id, body, name)

    requests = [request(account_id, name) for name in ("x", "y") for account_id in accounts]
    results = await accept_batch(resources, requests)
    assert [isinstance(result, IntakeHeld) for result in results] == [True, True, False] * 2
    rows = await fetch(resources, "SELECT account_id FROM subjects")
    assert [row["account_id"] for row in rows] == [accounts[2]] * 2
    assert await written(resources) == [2, 2, 0, 2]


async def test_each_entry_of_a_batch_is_refused_but_the_repeats(api: Api) -> None:
    """Of two with one external id, neither is answered by the other."""
    earlier = await api.create(external_task_id="earlier")
    await hold(api.resources, "intake")
    names = ("earlier", "new", "new", None)
    bodies = [request_body(external_task_id=name) if name else request_body() for name in names]
    bodies[2]["element_name"] = "Eve"
    answer = await api.http.post("/v1/subjects/batch", json={"subjects": bodies})
    assert answer.status_code == 207
    repeated, *refused = answer.json()["data"]
    assert (repeated["status"], repeated["subject"]["id"]) == (200, earlier["id"])
    assert [(entry["status"], entry["problem"]["code"]) for entry in refused] == [
        (503, "intake_held")
    ] * 3


async def test_clients_of_the_provider_are_told_in_its_own_form_to_wait(
    api: Api, clock: Clock
) -> None:
    until = format_rfc3339(clock() + timedelta(seconds=90))
    await hold(api.resources, "intake", until=until, reason="a migration of ours")
    answer = await api.http.post(COMPAT, json=request_body())
    assert (answer.status_code, answer.json()["code"]) == (503, 5001)
    assert answer.headers["retry-after"] == "90"
    assert "migration" not in answer.text


async def test_a_job_waits_until_the_hold_is_over(
    api: Api, redis: ArqRedis, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "UNAVAILABLE_RETRY_DELAY", 0.05)
    made = await hold(api.resources, "intake")
    async with running_worker(settings_without_sweeps(api)):
        job = await redis.enqueue_job("create_subject", "acme", request_body())
        assert job is not None

        def deferred() -> list[EventDict]:
            return [line for line in logged if line.get("action") == "job_deferred"]

        await wait_until(lambda: len(deferred()) >= 2)
        assert {line["reason"] for line in deferred()} == {"the intake is held"}
        await release(api.resources, made)
        assert "subject" in await job.result(timeout=10, poll_delay=0.01)
    assert "fault" not in logged_actions(logged)


async def test_a_hold_waits_for_what_is_being_accepted_and_nothing_is_accepted_after_it(
    api: Api,
) -> None:
    await api.subscribe("http://127.0.0.1:65009/")
    connection = await asyncpg.connect(api.resources.settings.database_url)
    async with connection.transaction():
        await connection.execute("SELECT FROM subscribers FOR UPDATE")
        first = asyncio.create_task(post(api))
        await wait_until_blocked(api.resources, 1)
        made = asyncio.create_task(hold(api.resources, "intake"))
        await wait_until_blocked(api.resources, 2)
        second = asyncio.create_task(post(api))
        assert not made.done()
    await connection.close()
    assert (await first).status_code == 202
    await made
    is_held(await second)
