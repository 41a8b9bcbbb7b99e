"""Whatever is wrong is said as a problem (RFC 9457), with a stable code and every error."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
from structlog.typing import EventDict

from service.app import build
from service.kit.database.database import Database
from service.kit.errors import CallsheetError
from service.kit.http.requests import MAX_SMALL_BODY
from service.kit.http.responses import STATUS
from service.local.ports import free_port
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body

NOT_JSON: tuple[dict[str, str], ...] = (
    {},
    {"content-type": ""},
    {"content-type": "text/plain"},
    {"content-type": "application/jsonp"},
    {"content-type": "application/json", "content-encoding": "gzip"},
)
MALFORMED = (b"", b"{", b"{'a': 1}", b"\xff", b'{"a": NaN}', b'"\\ud800"', b"[" * 100_000)


def is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"], body["code"]) == ("about:blank", status, code)
    assert body["title"]


def test_every_error_has_its_status() -> None:
    assert set(STATUS) == set(CallsheetError.__subclasses__())


async def test_a_path_that_is_not_there_and_a_method_that_is_not_taken(api: Api) -> None:
    is_problem(await api.http.get("/v1/nothing"), 404, "not_found")
    answer = await api.http.put("/v1/subjects")
    is_problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]


async def test_only_plain_json_is_read(api: Api) -> None:
    for headers in NOT_JSON:
        answer = await api.http.post("/v1/subjects", content=b"{}", headers=headers)
        is_problem(answer, 415, "unsupported_media_type")


async def test_bytes_that_are_no_json_are_malformed(api: Api) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    for body in MALFORMED:
        answer = await api.http.post("/v1/subjects", content=body, headers=headers)
        is_problem(answer, 400, "malformed")


async def test_json_that_is_no_object_breaks_the_rules(api: Api) -> None:
    headers = {"content-type": "application/json"}
    for body in ("[]", "null", "7", '"text"'):
        for path in ("/v1/subjects", "/v1/subscribers"):
            answer = await api.http.post(path, content=body, headers=headers)
            is_problem(answer, 422, "invalid")
            assert [error["pointer"] for error in answer.json()["errors"]] == [""]


async def test_every_broken_rule_has_a_pointer_a_code_and_a_message(api: Api) -> None:
    body = request_body(element_name=7, tag_list=[{"tag_id": "o_999"}, {"tag": "o_101"}])
    answer = await api.http.post("/v1/subjects", json=body)
    is_problem(answer, 422, "invalid")
    errors = answer.json()["errors"]
    assert {error["pointer"] for error in errors} == {
        "/element_name",
        "/tag_list/0/tag_id",
        "/tag_list/1/tag",
        "/tag_list/1/tag_id",
    }
    assert all(error["code"] and error["message"] for error in errors)


async def test_a_body_beyond_the_bound_is_too_large_announced_or_not(api: Api) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield b" " * MAX_SMALL_BODY

    headers = {"content-type": "application/json"}
    for content in (b" " * (MAX_SMALL_BODY + 1), unannounced()):
        answer = await api.http.post("/v1/subscribers", content=content, headers=headers)
        is_problem(answer, 413, "too_large")


async def test_without_postgres_callers_are_told_to_come_back(api: Api) -> None:
    nowhere = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    app = build(replace(api.resources, database=nowhere))
    async with (
        http_server(app) as there,
        httpx.AsyncClient(base_url=there, trust_env=False, timeout=30) as http,
    ):
        http.headers = api.http.headers
        answer = await http.get("/v1/subjects")
        is_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert (await http.get("/healthz")).status_code == 200
    await nowhere.close()


async def test_a_fault_of_ours_is_logged_and_said_to_be_one_without_its_details(
    api: Api, logged: list[EventDict]
) -> None:
    await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN deadline TO hidden")
    # Behind the answer the error goes on to the server, which logs it too: asked for in-process.
    transport = httpx.ASGITransport(build(api.resources), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        http.headers = api.http.headers
        answer = await http.get("/v1/subjects")
    is_problem(answer, 500, "internal")
    assert "hidden" not in answer.text
    assert "subjects" not in answer.text
    (line,) = [line for line in logged if line.get("action") == "fault"]
    assert (line["route"], "UndefinedColumn" in line["exception"]) == ("/v1/subjects", True)
    logged.clear()
