"""What one account may ask for: so many requests a second, so many queued; whoever counts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.core.errors import TooMany
from service.steps import callers, intake, keys
from service.steps.queues import Queues
from service.steps.resources import Resources
from service.store.callers import Caller
from service.web.app import build
from tests.calling import fetch
from tests.conftest import Api, Clock
from tests.local.simulating import served
from tests.make import a_request

FEW = 3


@pytest.fixture
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    return environ | getattr(request, "param", {})


@asynccontextmanager
async def second(resources: Resources, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Another web process' worth of application: it shares nothing with the first but Postgres."""
    own = replace(resources, queues=Queues(resources.settings.queued_per_account))
    async with served(build(own)) as address:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False) as http:
            yield http


RATE = pytest.mark.parametrize("environ", [{"CALLSHEET_REQUESTS_PER_SECOND": "10"}], indirect=True)
QUEUE = pytest.mark.parametrize(
    "environ", [{"CALLSHEET_QUEUED_PER_ACCOUNT": str(FEW)}], indirect=True
)


@RATE
async def test_a_second_s_worth_may_come_at_once_over_all_processes(api: Api, clock: Clock) -> None:
    key = await keys.create(api.resources, "acme", keys.SCOPES)
    async with second(api.resources, key) as other:
        answers = await asyncio.gather(
            *(http.get("/v1/subjects") for http in (api.http, other) for _ in range(20))
        )
        assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 30}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "too_many_requests"
        assert refused.headers["retry-after"] == "1"
        clock.pass_by(0.2)
        again = [await http.get("/v1/subjects") for http in (other, api.http, other)]
        assert [answer.status_code for answer in again] == [200, 200, 429]
        clock.pass_by(3600)
        answers = [await other.get("/v1/subjects") for _ in range(11)]
        assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 1}


@RATE
async def test_one_account_s_requests_cost_the_others_nothing(api: Api) -> None:
    other = await keys.create(api.resources, "other", keys.SCOPES)
    answers = [await api.http.get("/v1/subjects") for _ in range(11)]
    assert answers[-1].status_code == 429
    theirs = await api.http.get("/v1/subjects", headers={"authorization": f"Bearer {other}"})
    assert theirs.status_code == 200


@RATE
async def test_keys_looked_up_together_are_counted_one_by_one(resources: Resources) -> None:
    mine = [await keys.create(resources, "acme", keys.SCOPES) for _ in range(2)]
    theirs = await keys.create(resources, "other", keys.SCOPES)
    digests = [callers.digest(one) for one in (*mine * 6, theirs, "csk_none")]
    found = await callers.known(resources, digests)
    kinds = [type(one).__name__ for one in found]
    assert kinds == ["Caller"] * 10 + ["TooMany"] * 2 + ["Caller", "Unauthorized"]


@pytest.mark.parametrize("environ", [{"CALLSHEET_REQUESTS_PER_SECOND": "0.5"}], indirect=True)
async def test_a_rate_below_one_lets_one_pass_and_says_how_long_to_wait(
    resources: Resources, clock: Clock
) -> None:
    digest = callers.digest(await keys.create(resources, "acme", keys.SCOPES))
    (first,) = await callers.known(resources, [digest])
    assert isinstance(first, Caller)
    (refused,) = await callers.known(resources, [digest])
    assert isinstance(refused, TooMany)
    assert round(refused.retry_after, 3) == 2
    clock.pass_by(2)
    (third,) = await callers.known(resources, [digest])
    assert isinstance(third, Caller)


@QUEUE
async def test_a_full_queue_refuses_what_is_new_and_nothing_else(api: Api) -> None:
    first = await api.create(external_task_id="first")
    for _ in range(FEW - 1):
        await api.create()
    answer = await api.http.post("/v1/subjects", json=a_request())
    assert answer.status_code == 429
    assert answer.json()["code"] == "queue_full"
    assert int(answer.headers["retry-after"]) >= 1
    again = await api.http.post("/v1/subjects", json=a_request(external_task_id="first"))
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert (await api.http.post(f"/v1/subjects/{first['id']}/cancel")).status_code == 200
    assert (await api.http.post("/v1/subjects", json=a_request())).status_code == 202
    other = await keys.create(api.resources, "other", keys.SCOPES)
    headers = {"authorization": f"Bearer {other}"}
    theirs = await api.http.post("/v1/subjects", json=a_request(), headers=headers)
    assert theirs.status_code == 202


@QUEUE
async def test_a_queue_is_never_fuller_than_allowed_however_many_processes_fill_it(
    api: Api,
) -> None:
    key = await keys.create(api.resources, "acme", keys.SCOPES)
    async with second(api.resources, key) as other:
        answers = await asyncio.gather(
            *(
                http.post("/v1/subjects", json=a_request())
                for http in (api.http, other)
                for _ in range(20)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {202: FEW, 429: 40 - FEW}
    assert len(await fetch(api.resources, "SELECT id FROM subjects")) == FEW


@QUEUE
async def test_a_batch_fills_the_queue_and_the_rest_of_it_is_refused(api: Api) -> None:
    bodies = [a_request() for _ in range(FEW + 2)]
    answer = await api.http.post("/v1/subjects/batch", json={"subjects": bodies})
    data: list[dict[str, Any]] = answer.json()["data"]
    assert [one["status"] for one in data] == [202] * FEW + [429] * 2
    assert data[-1]["problem"]["code"] == "queue_full"


@QUEUE
async def test_a_request_refused_for_its_queue_binds_no_key(api: Api, account: str) -> None:
    for _ in range(FEW):
        await api.create()
    with pytest.raises(TooMany):
        await intake.accept(api.resources, account, a_request(), "key")
    assert not await fetch(api.resources, "SELECT key FROM idempotency_keys")
