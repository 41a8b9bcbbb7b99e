"""On the provider's own paths, every mistake is answered as the provider answers it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.typing import EventDict

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.app import build
from service.intake.cache.queue_limit import QueueLimit
from service.intake.web import routes
from service.kit.database.database import Database
from service.local.ports import free_port
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.http_server import http_server
from tests.support.provider_api_client import data_of
from tests.support.request_bodies import request_body
from tests.support.simulator import API_KEY, PATH, SimulatorClient

BROKEN = {
    "element_name": "",
    "element_description": "x" * 101,
    "reference_type": "both",
    "tag_list": [{"tag_id": "o_999"}],
    "external_task_id": "a\tb",
}
TAKEN = request_body(external_task_id="taken")
Mistake = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


def get(path: str, authorization: str | None = None) -> Mistake:
    async def call(http: httpx.AsyncClient) -> httpx.Response:
        headers = {} if authorization is None else {"authorization": authorization}
        return await http.get(path, headers=headers)

    return call


def keyless() -> Mistake:
    async def call(http: httpx.AsyncClient) -> httpx.Response:
        async with httpx.AsyncClient(base_url=http.base_url, trust_env=False, timeout=30) as nobody:
            return await nobody.post(PATH, json=request_body())

    return call


def posted(content: bytes) -> Mistake:
    async def call(http: httpx.AsyncClient) -> httpx.Response:
        return await http.post(PATH, content=content, headers={"content-type": "application/json"})

    return call


def created(**changes: object) -> Mistake:
    async def call(http: httpx.AsyncClient) -> httpx.Response:
        return await http.post(PATH, json=request_body(**changes))

    return call


def request_without_body(method: str, path: str) -> Mistake:
    async def call(http: httpx.AsyncClient) -> httpx.Response:
        return await http.request(method, path)

    return call


def repeated(**changes: object) -> Mistake:
    """An external id that is taken is refused, whatever else the request says."""

    async def call(http: httpx.AsyncClient) -> httpx.Response:
        first = await http.post(PATH, json=TAKEN)
        assert data_of(first)["task_info"] == {"external_task_id": "taken"}
        return await http.post(PATH, json={**TAKEN, **changes})

    return call


MISTAKES: dict[str, tuple[Mistake, int, int, str]] = {  # HTTP status, code, what is said
    "no key": (keyless(), 401, 1001, ""),
    "an empty key": (get(PATH, ""), 401, 1001, ""),
    "a scheme alone": (get(PATH, "Bearer"), 401, 1000, ""),
    "another scheme": (get(PATH, f"Basic {API_KEY}"), 401, 1000, ""),
    "a wrong key": (get(f"{PATH}/x", "Bearer x"), 401, 1002, ""),
    "no JSON": (posted(b"{'a': 1}"), 400, 1200, "JSON"),
    "no body": (posted(b""), 400, 1200, "JSON"),
    "no object": (posted(b"[]"), 400, 1200, "JSON object"),
    "a broken rule": (created(element_name="x" * 21), 400, 1201, "at most 20 characters"),
    "no images": (created(element_image_list=None), 400, 1201, "element_image_list is required"),
    "a tag unknown": (created(tag_list=[{"tag_id": "o_1"}]), 400, 1201, "/tag_list/0/tag_id"),
    "the same again": (repeated(), 400, 1201, "external_task_id taken already exists"),
    "another of that id": (repeated(element_name="B"), 400, 1201, "taken already exists"),
    "an unknown id": (get(f"{PATH}/123456789012345678"), 400, 1201, "Task not found"),
    "no page": (get(f"{PATH}?pageNum=0"), 400, 1201, "pageNum must be"),
    "a page too far": (get(f"{PATH}?pageNum=1001"), 400, 1201, "pageNum must be"),
    "a page in words": (get(f"{PATH}?pageNum=one"), 400, 1201, "pageNum must be"),
    "an empty page": (get(f"{PATH}?pageSize=0"), 400, 1201, "pageSize must be"),
    "a page too large": (get(f"{PATH}?pageSize=501"), 400, 1201, "pageSize must be"),
    "no such method": (request_without_body("PUT", PATH), 404, 1202, "PUT"),
    "nor of a task": (request_without_body("DELETE", f"{PATH}/x"), 404, 1202, "DELETE"),
    "nor with a slash": (request_without_body("PATCH", f"{PATH}/"), 404, 1202, "PATCH"),
    "no such path": (get("/v1/general/nothing"), 404, 1203, "/v1/general/nothing"),
    "another path": (
        request_without_body("POST", "/v1/general/custom-voices"),
        404,
        1203,
        "POST",
    ),
}


def is_refused(answer: httpx.Response, status: int, code: int) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"code", "message", "request_id"}
    assert body["message"]
    assert body["request_id"]
    return body


@pytest.mark.parametrize("what", MISTAKES)
async def test_a_mistake_is_answered_alike(api: Api, provider: SimulatorClient, what: str) -> None:
    mistake, status, code, said = MISTAKES[what]
    for http in (provider.http, api.http):
        assert said in is_refused(await mistake(http), status, code)["message"]


async def test_all_that_is_wrong_is_said_at_once(api: Api, provider: SimulatorClient) -> None:
    for http in (provider.http, api.http):
        answer = await http.post(PATH, json=request_body(**BROKEN))
        message = is_refused(answer, 400, 1201)["message"]
        assert all(f"/{name}" in message for name in BROKEN), message


async def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    answers = [await api.http.get(path) for path in (PATH, PATH, f"{PATH}/x", "/v1/general/")]
    assert len({answer.json()["request_id"] for answer in answers}) == 4


async def test_only_plain_json_is_read_and_not_too_much_of_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await api.http.post(PATH, content=b"{}", headers={"content-type": "text/plain"})
    assert "application/json" in is_refused(answer, 400, 1201)["message"]
    monkeypatch.setattr(routes, "MAX_SUBJECT_BODY", 100)
    answer = await api.http.post(PATH, json=request_body())
    assert "100 bytes" in is_refused(answer, 400, 1201)["message"]


async def test_a_key_without_the_scope_has_no_right(api: Api) -> None:
    for scope, call in (("subjects:read", "POST"), ("subjects:write", "GET")):
        key = await api_keys.create(api.resources, "acme", [scope])
        headers = {"authorization": f"Bearer {key}"}
        answer = await api.http.request(call, PATH, json=request_body(), headers=headers)
        is_refused(answer, 403, 1103)


async def test_an_account_knows_nothing_of_another_s_ids(api: Api) -> None:
    made = data_of(await api.http.post(PATH, json=TAKEN))
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    headers = {"authorization": f"Bearer {key}"}
    for name in (made["task_id"], "taken"):
        is_refused(await api.http.get(f"{PATH}/{name}", headers=headers), 400, 1201)
    assert data_of(await api.http.get(PATH, headers=headers)) == []
    other_task = data_of(await api.http.post(PATH, json=TAKEN, headers=headers))
    assert other_task["task_id"] != made["task_id"]
    for task, headers_ in ((made, {}), (other_task, headers)):
        read = data_of(await api.http.get(f"{PATH}/taken", headers=headers_))
        assert read["task_id"] == task["task_id"]


@pytest.mark.parametrize("name", ["%00", "a%00b", "%ff", "%ed%a0%80", "..%2F..", "x" * 5000])
async def test_no_id_is_more_than_unknown(api: Api, name: str) -> None:
    is_refused(await api.http.get(f"{PATH}/{name}"), 400, 1201)


async def test_a_repeated_idempotency_key_gets_the_first_answer(api: Api) -> None:
    headers = {"idempotency-key": "k1"}
    first, again = [
        data_of(await api.http.post(PATH, json=TAKEN, headers=headers)) for _ in range(2)
    ]
    assert again == first
    other = request_body(element_name="B")
    answer = await api.http.post(PATH, json=other, headers=headers)
    is_refused(answer, 400, 1201)
    assert await fetch(api.resources, "SELECT count(*) FROM subjects") == [{"count": 1}]


async def test_query_parameters_that_the_provider_does_not_know_are_ignored(api: Api) -> None:
    assert data_of(await api.http.get(f"{PATH}?pageSize=1&sort=asc")) == []


@pytest.fixture
async def strict(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Two requests a second, and one subject in the queue."""
    settings = replace(api.resources.settings, requests_per_second=2.0)
    own = replace(api.resources, settings=settings, queue_limit=QueueLimit(1))
    app = build(own)
    async with (
        http_server(app) as there,
        httpx.AsyncClient(base_url=there, trust_env=False, timeout=30) as http,
    ):
        http.headers = api.http.headers
        yield http


async def test_too_many_requests_get_retry_after(
    strict: httpx.AsyncClient, provider: SimulatorClient
) -> None:
    data_of(await strict.post(PATH, json=request_body()))
    full = await strict.post(PATH, json=request_body())
    fast = await strict.post(PATH, json=request_body())
    is_refused(full, 429, 1303)
    is_refused(fast, 429, 1302)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in (full, fast))
    await provider.admin("settings", {"parallel": 0})
    is_refused(await provider.http.post(PATH, json=request_body()), 429, 1303)
    await provider.admin("settings", {"rate": 0})
    is_refused(await provider.http.get(PATH), 429, 1302)


async def test_without_postgres_callers_are_told_to_come_back(api: Api) -> None:
    nowhere = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    app = build(replace(api.resources, database=nowhere))
    async with (
        http_server(app) as there,
        httpx.AsyncClient(base_url=there, trust_env=False, timeout=30) as http,
    ):
        http.headers = api.http.headers
        answer = await http.post(PATH, json=request_body())
    is_refused(answer, 503, 5001)
    assert answer.headers["retry-after"] == "1"
    await nowhere.close()


async def test_a_fault_of_ours_is_logged_and_said_to_be_one_without_its_details(
    api: Api, logged: list[EventDict]
) -> None:
    await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN deadline TO hidden")
    message = is_refused(await api.http.get(PATH), 500, 5000)["message"]
    assert "hidden" not in message
    assert "subjects" not in message
    (line,) = [line for line in logged if line.get("action") == "fault"]
    assert (line["route"], "UndefinedColumn" in line["exception"]) == (PATH, True)
    logged.clear()
