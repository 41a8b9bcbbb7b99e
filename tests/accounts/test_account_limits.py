"""Limits of one account over all processes: requests per second, and requests in the queue."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import asyncpg
import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys, authenticate
from service.accounts.store.authentication import Caller
from service.app import build
from service.intake.cache.queue_limit import QueueLimit
from service.intake.domain.create_request import Accepted
from service.intake.steps.accept import accept_batch
from service.intake.steps.validate import validate
from service.kit.errors import TooManyRequests
from service.resources import Resources
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.callbacks import accept_request
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch, wait_until_blocked
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body

QUEUE_LIMIT = 3


@pytest.fixture
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    return environ | getattr(request, "param", {})


@asynccontextmanager
async def second(resources: Resources, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Another web process' worth of application: it shares nothing with the first but Postgres."""
    own = replace(resources, queue_limit=QueueLimit(resources.settings.max_queued_per_account))
    async with http_server(build(own)) as address:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            base_url=address, headers=headers, trust_env=False, timeout=30
        ) as http:
            yield http


RATE_LIMIT = 10
RATE = pytest.mark.parametrize(
    "environ",
    [{"CALLSHEET_REQUESTS_PER_SECOND": str(RATE_LIMIT)}],
    indirect=True,
)
QUEUE = pytest.mark.parametrize(
    "environ", [{"CALLSHEET_MAX_QUEUED_PER_ACCOUNT": str(QUEUE_LIMIT)}], indirect=True
)


@RATE
async def test_one_second_of_requests_may_come_in_a_burst_over_all_processes(api: Api) -> None:
    key = await api_keys.create(api.resources, "acme", DEFAULT_SCOPES)
    async with second(api.resources, key) as other:
        for _ in range(2):
            begun = monotonic()
            answers = await asyncio.gather(
                *(http.get("/v1/subjects") for http in (api.http, other) for _ in range(40))
            )
            codes = Counter(answer.status_code for answer in answers)
            most = RATE_LIMIT * (1 + monotonic() - begun) + 1
            assert set(codes) == {200, 429}
            assert RATE_LIMIT <= codes[200] <= most
            await pause(api.resources, 3600)
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["code"] == "too_many_requests"
            assert refused.headers["retry-after"] == "1"


@RATE
async def test_a_process_whose_clock_is_behind_is_not_starved(api: Api, clock: Clock) -> None:
    digest = authenticate.key_digest(await api_keys.create(api.resources, "acme", DEFAULT_SCOPES))
    clock.advance(3600)
    ahead = await authenticate.authenticate_batch(api.resources, [digest] * RATE_LIMIT)
    clock.advance(-3600)
    await pause(api.resources, 1)
    behind = await authenticate.authenticate_batch(api.resources, [digest] * RATE_LIMIT)
    assert {type(caller) for caller in (*ahead, *behind)} == {Caller}


@RATE
async def test_the_rate_limit_is_per_account(api: Api) -> None:
    other = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    await fetch(
        api.resources,
        "UPDATE accounts SET rate_used_until = clock_timestamp() + interval '1 minute'"
        " WHERE name = 'acme'",  # what the account may ask for is used up for so long
    )
    assert (await api.http.get("/v1/subjects")).status_code == 429
    other_answer = await api.http.get("/v1/subjects", headers={"authorization": f"Bearer {other}"})
    assert other_answer.status_code == 200


async def pause(resources: Resources, seconds: float) -> None:
    """As if so long nothing had been asked for: the time that counts is Postgres'."""
    await fetch(
        resources,
        "UPDATE accounts SET rate_used_until = rate_used_until - make_interval(secs => $1)",
        seconds,
    )


@RATE
async def test_keys_looked_up_together_are_counted_one_by_one(resources: Resources) -> None:
    own_keys = [await api_keys.create(resources, "acme", DEFAULT_SCOPES) for _ in range(2)]
    other_key = await api_keys.create(resources, "other", DEFAULT_SCOPES)
    digests = [authenticate.key_digest(key) for key in (*own_keys * 6, other_key, "csk_none")]
    found = await authenticate.authenticate_batch(resources, digests)
    kinds = [type(caller).__name__ for caller in found]
    assert kinds == ["Caller"] * 10 + ["TooManyRequests"] * 2 + ["Caller", "Unauthorized"]


@pytest.mark.parametrize("environ", [{"CALLSHEET_REQUESTS_PER_SECOND": "0.1"}], indirect=True)
async def test_a_rate_below_one_grants_one_request_and_then_sends_retry_after(
    resources: Resources,
) -> None:
    digest = authenticate.key_digest(await api_keys.create(resources, "acme", DEFAULT_SCOPES))
    (first,) = await authenticate.authenticate_batch(resources, [digest])
    assert isinstance(first, Caller)
    (refused,) = await authenticate.authenticate_batch(resources, [digest])
    assert isinstance(refused, TooManyRequests)
    assert 0 < refused.retry_after <= 10
    await pause(resources, 10)
    (third,) = await authenticate.authenticate_batch(resources, [digest])
    assert isinstance(third, Caller)


async def test_a_claim_that_waits_for_an_account_locks_none_after_it(
    resources: Resources,
) -> None:
    """Accounts are locked in one order, by claims as by those who count requests: so none of them
    waits for another crosswise."""
    made = [await api_keys.create(resources, f"account-{n}", DEFAULT_SCOPES) for n in range(4)]
    known = await authenticate.authenticate_batch(
        resources, [authenticate.key_digest(key) for key in made]
    )
    accounts = sorted(caller.account_id for caller in known if isinstance(caller, Caller))
    settings = resources.settings
    requests = [validate(settings, account_id, request_body()) for account_id in accounts]
    await accept_batch(resources, requests)
    lock = "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE"
    connection = await asyncpg.connect(resources.settings.database_url)
    async with asyncio.TaskGroup() as group:
        async with connection.transaction():
            await connection.execute(lock, accounts[0])
            claiming = group.create_task(submit.claim(resources, len(accounts)))
            await wait_until_blocked(resources)
            for account_id in accounts[1:]:
                await connection.execute(f"{lock} NOWAIT", account_id)
        await connection.close()
    assert len(claiming.result()) == len(accounts)


@QUEUE
async def test_a_full_queue_refuses_what_is_new_and_nothing_else(api: Api) -> None:
    first = await api.create(external_task_id="first")
    for _ in range(QUEUE_LIMIT - 1):
        await api.create()
    answer = await api.http.post("/v1/subjects", json=request_body())
    assert answer.status_code == 429
    assert answer.json()["code"] == "queue_full"
    assert int(answer.headers["retry-after"]) >= 1
    again = await api.http.post("/v1/subjects", json=request_body(external_task_id="first"))
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert (await api.http.post(f"/v1/subjects/{first['id']}/cancel")).status_code == 200
    assert (await api.http.post("/v1/subjects", json=request_body())).status_code == 202
    other = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    headers = {"authorization": f"Bearer {other}"}
    other_answer = await api.http.post("/v1/subjects", json=request_body(), headers=headers)
    assert other_answer.status_code == 202


@QUEUE
async def test_a_queue_is_never_fuller_than_allowed_however_many_processes_fill_it(
    api: Api,
) -> None:
    key = await api_keys.create(api.resources, "acme", DEFAULT_SCOPES)
    async with second(api.resources, key) as other:
        answers = await asyncio.gather(
            *(
                http.post("/v1/subjects", json=request_body())
                for http in (api.http, other)
                for _ in range(20)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {
        202: QUEUE_LIMIT,
        429: 40 - QUEUE_LIMIT,
    }
    assert len(await fetch(api.resources, "SELECT id FROM subjects")) == QUEUE_LIMIT


@QUEUE
async def test_equal_requests_take_up_one_place_of_a_queue(api: Api) -> None:
    for _ in range(QUEUE_LIMIT - 1):
        await api.create()
    key = await api_keys.create(api.resources, "acme", DEFAULT_SCOPES)
    async with second(api.resources, key) as other:
        body = request_body(external_task_id="mine")
        answers = await asyncio.gather(
            *(http.post("/v1/subjects", json=body) for http in (api.http, other) for _ in range(25))
        )
    assert Counter(answer.status_code for answer in answers) == {202: 1, 200: 49}
    assert (await api.http.post("/v1/subjects", json=request_body())).status_code == 429


@pytest.mark.parametrize("environ", [{"CALLSHEET_MAX_QUEUED_PER_ACCOUNT": "20000"}], indirect=True)
async def test_a_long_queue_that_is_full_is_not_counted_for_each_who_comes(
    resources: Resources, clock: Clock, account: str
) -> None:
    """As counting it takes long; so what has become free is seen a little later."""
    await accept_request(resources, account, request_body())
    await fetch(
        resources,
        "INSERT INTO subjects"
        " SELECT (jsonb_populate_record(s, jsonb_build_object('id', 'q' || n))).*"
        " FROM subjects s, generate_series(2, 20000) n",
    )
    clock.advance(1)  # until then it is believed to have room
    request = validate(resources.settings, account, request_body())
    with executed_statements() as statements:
        results = [(await accept_batch(resources, [request]))[0] for _ in range(3)]
    assert {type(result) for result in results} == {TooManyRequests}
    assert sum("count(*)" in statement and "queued" in statement for statement in statements) == 1
    await fetch(resources, "DELETE FROM subjects WHERE id = 'q2'")
    clock.advance(1)
    (result,) = await accept_batch(resources, [request])
    assert isinstance(result, Accepted)


@QUEUE
async def test_equal_requests_in_one_batch_take_up_one_place(api: Api) -> None:
    for _ in range(QUEUE_LIMIT - 1):
        await api.create()
    body = request_body(external_task_id="mine")
    answer = await api.http.post("/v1/subjects/batch", json={"subjects": [body, body, body]})
    assert [entry["status"] for entry in answer.json()["data"]] == [202, 200, 200]


@QUEUE
async def test_a_batch_fills_the_queue_and_the_rest_of_it_is_refused(api: Api) -> None:
    bodies = [request_body() for _ in range(QUEUE_LIMIT + 2)]
    answer = await api.http.post("/v1/subjects/batch", json={"subjects": bodies})
    data: list[dict[str, Any]] = answer.json()["data"]
    assert [entry["status"] for entry in data] == [202] * QUEUE_LIMIT + [429] * 2
    assert data[-1]["problem"]["code"] == "queue_full"


@QUEUE
async def test_a_request_refused_by_a_full_queue_keeps_no_idempotency_key(
    api: Api, account: str
) -> None:
    for _ in range(QUEUE_LIMIT):
        await api.create()
    with pytest.raises(TooManyRequests):
        await accept_request(api.resources, account, request_body(), "key")
    assert not await fetch(api.resources, "SELECT key FROM idempotency_keys")
