"""X-Request-Id: taken if it is sane, else made; in every response, every problem and every line."""

import asyncio

import pytest
from structlog.typing import EventDict

from tests.support.api import Api
from tests.support.database import fetch

OURS = "req_"


@pytest.mark.parametrize("given", ["deadbeef", "a" * 128, "Trace:1.2_3-4"])
async def test_a_sane_id_is_taken_and_answered(api: Api, given: str) -> None:
    response = await api.http.get("/healthz", headers={"x-request-id": given})
    assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "short", "a" * 129, "with space", "häuser12", "a\"b'c<d>e"])
async def test_another_is_replaced_by_one_of_ours(api: Api, given: str) -> None:
    response = await api.http.get("/healthz", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert response.headers["x-request-id"].startswith(OURS)


async def test_each_request_without_one_gets_its_own(api: Api) -> None:
    responses = await asyncio.gather(*(api.http.get("/healthz") for _ in range(5)))
    assert len({response.headers["x-request-id"] for response in responses}) == 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/callbacks"),
        ("GET", "/callbacks"),
        ("GET", "/v1/nothing"),
        ("PATCH", "/v1/subjects"),
        ("POST", "/v1/subjects"),
        ("GET", "/v1/subjects/sub_nothing"),
    ],
)
async def test_a_problem_names_its_request(api: Api, method: str, path: str) -> None:
    response = await api.http.request(
        method, path, content=b"{", headers={"x-request-id": "the-request"}
    )
    assert response.status_code >= 400
    assert response.json()["request_id"] == "the-request"
    assert response.headers["x-request-id"] == "the-request"


async def test_the_providers_paths_answer_the_same_id(api: Api) -> None:
    response = await api.http.get(
        "/v1/general/advanced-custom-elements", headers={"x-request-id": "the-request"}
    )
    assert response.json()["request_id"] == "the-request"


async def test_a_stream_has_one(api: Api) -> None:
    headers = {"accept": "text/event-stream", "x-request-id": "the-request"}
    async with api.http.stream("GET", "/v1/events", headers=headers) as response:
        assert response.headers["x-request-id"] == "the-request"


async def test_a_request_that_fails_is_a_line_that_names_its_route_and_never_its_path(
    api: Api, logged: list[EventDict]
) -> None:
    headers = {"x-request-id": "the-request"}
    await api.http.get("/v1/subjects/sub_nothing", headers=headers)
    await api.http.post("/callbacks/a.forged-token", content=b"{}", headers=headers)
    await api.http.get("/callbacks/a/b/c", headers=headers)
    lines = [line for line in logged if line["action"] == "request_failed"]
    assert [(line["route"], line["status"], line["code"]) for line in lines] == [
        ("/v1/subjects/{subject_id}", 404, "not_found"),
        ("/callbacks/{token}", 401, "signature"),
        ("", 404, "not_found"),
    ]
    assert {line["request_id"] for line in lines} == {"the-request"}
    (account,) = await fetch(api.resources, "SELECT id FROM accounts")
    assert [line["account"] for line in lines] == [account["id"], None, None]
    assert "forged-token" not in repr(lines)


async def test_what_succeeds_is_no_line(api: Api, logged: list[EventDict]) -> None:
    await api.create()
    assert "request_failed" not in {line["action"] for line in logged}
