"""What is counted of requests: how long they took, what was refused, who streams and who waits."""

from collections.abc import Awaitable

import httpx

from service.intake.domain.door import Door
from service.jobs import create_subject
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers
from tests.support.event_streams import feed_api
from tests.support.ingestion import post_callback, submitted_subject
from tests.support.metrics import MetricChanges, shown
from tests.support.request_bodies import request_body
from tests.support.waiting import wait_until

COMPAT = "/v1/general/advanced-custom-elements"


async def counted(*calls: Awaitable[object]) -> dict[tuple[str, ...], float]:
    """What is counted of requests while these calls are made, one after another: by method, route
    and status."""
    changes = MetricChanges()
    for call in calls:
        await call
    return changes.of("http_server_request_duration_seconds_count")


async def test_a_request_is_counted_by_the_template_of_its_route(api: Api) -> None:
    subject = await api.create()
    path = f"/v1/subjects/{subject['id']}"
    assert await counted(api.http.get(path), api.http.get(path), api.http.head(path)) == {
        ("GET", "/v1/subjects/{subject_id}", "200"): 2,
        ("HEAD", "/v1/subjects/{subject_id}", "200"): 1,
    }
    assert await counted(api.http.get(f"{path}x"), api.http.get(f"{COMPAT}/a/b")) == {
        ("GET", "/v1/subjects/{subject_id}", "404"): 1,
        ("GET", f"{COMPAT}/{{task_id}}", "400"): 1,
    }


async def test_what_a_stranger_makes_up_makes_no_new_labels(api: Api) -> None:
    methods = ("PUT", "OPTIONS", "PROPFIND", "LOCK")
    made_up = [api.http.request(method, f"/made/up/{method}") for method in methods]
    assert await counted(*made_up) == {("_OTHER", "", "404"): len(methods)}
    assert await counted(api.http.request("PUT", "/healthz")) == {("_OTHER", "/healthz", "405"): 1}


async def test_callbacks_are_counted_without_their_tokens(api: Api) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id)
    signed = signed_headers(body, api.resources.clock(), "msg_2")
    token = "/callbacks/{token}"
    assert await counted(
        post_callback(api, subject_id, body),
        api.http.post("/callbacks/forged.token", content=body, headers=signed),
        api.http.post("/callbacks", content=b"", headers=signed),
        api.http.post("/callbacks/provider/forged.token", content=body, headers=signed),
        api.http.get("/callbacks/forged.token"),
    ) == {
        ("POST", token, "200"): 1,
        ("POST", token, "401"): 1,
        ("POST", "/callbacks", "401"): 1,
        ("POST", "/callbacks/{source}/{token}", "401"): 1,
        ("GET", token, "405"): 1,
    }


async def test_each_problem_is_counted_by_its_code(api: Api) -> None:
    async def refused_as(code: str, call: Awaitable[httpx.Response]) -> None:
        changes = MetricChanges()
        answer = await call
        assert changes.of("requests_refused_total") == {(code,): 1}, answer

    await refused_as("not_found", api.http.get("/nowhere"))
    await refused_as("method_not_allowed", api.http.delete("/healthz"))
    await refused_as("invalid", api.http.post("/v1/subjects", json={}))
    await refused_as("signature", api.http.post("/callbacks", content=b"{}"))
    await refused_as("invalid", api.http.post(COMPAT, json={}))
    batch = {"subjects": [request_body(), {}]}
    await refused_as("invalid", api.http.post("/v1/subjects/batch", json=batch))
    await refused_as("unauthorized", api.http.get("/v1/subjects", headers={"authorization": ""}))


async def test_a_subject_is_counted_by_the_door_it_came_in_by_and_a_repeat_is_not(
    api: Api,
) -> None:
    changes = MetricChanges()
    body = request_body(external_task_id="once")
    for _ in range(2):
        (await api.http.post("/v1/subjects", json=body)).raise_for_status()
    batch = {"subjects": [request_body(), request_body(), {}]}
    (await api.http.post("/v1/subjects/batch", json=batch)).raise_for_status()
    (await api.http.post(COMPAT, json=request_body())).raise_for_status()
    for _ in range(2):
        assert "subject" in await create_subject(
            api.resources, {"job_id": "one"}, "acme", request_body()
        )
    assert changes.of("subjects_accepted_total") == {
        (Door.API,): 1,
        (Door.BATCH,): 2,
        (Door.COMPAT_API,): 1,
        (Door.ARQ,): 1,
    }
    assert shown("subjects_accepted_total").keys() == {(door,) for door in Door}


async def test_long_polls_are_counted_apart_and_their_wait_is_no_duration(api: Api) -> None:
    subject = await api.create()
    path, changes = f"/v1/subjects/{subject['id']}", MetricChanges()
    polls = [
        api.http.get(path, headers={"prefer": "wait=1"}),
        api.http.get("/v1/events", params={"wait": "1", "after": await last_cursor(api)}),
    ]
    assert await counted(*polls) == {}
    assert changes.of("waits_total") == {(): 2}
    at_once = api.http.get("/v1/events", params={"wait": "1"})
    assert await counted(at_once) == {("GET", "/v1/events", "200"): 1}


async def last_cursor(api: Api) -> str:
    return str((await api.http.get("/v1/events")).json()["next_cursor"])


async def test_streams_are_counted_while_they_are_open_and_are_no_duration(
    api: Api, account: str
) -> None:
    async def stream() -> None:
        async with feed_api(api.resources, account) as world:
            async with world.stream("/v1/events"):
                await wait_until(lambda: shown("streams")[()] == 1)
            await wait_until(lambda: shown("streams")[()] == 0)

    assert await counted(stream()) == {}
