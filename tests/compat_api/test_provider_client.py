"""A client written for the provider works by changing its base URL: the same client is run against
the provider's stand-in and against us, and finds the same."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderApiKey
from service.provider.remote.outcomes import AlreadyExists, TaskAccepted, TaskFound, TaskNotFound
from tests.conftest import WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.media_host import MediaHost, media_host
from tests.support.provider_api_client import (
    ApiConfig,
    ProviderApiClient,
    json_shape,
    provider_api_client,
)
from tests.support.request_bodies import request_body
from tests.support.simulator import API_KEY, PATH, SimulatorClient
from tests.support.webhook_receiver import webhook_receiver
from tests.support.worker import running_worker

CREATED = {"task_id", "task_info", "task_status", "created_at", "updated_at"}
MATERIALS = ("element_image_list", "element_video_list")


@dataclass
class TaskRun:
    """What the client saw."""

    created: dict[str, Any]
    ended: dict[str, Any]
    page: list[dict[str, Any]]
    callbacks: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
async def provider_api(provider: SimulatorClient) -> ApiConfig:
    return ApiConfig(str(provider.http.base_url), API_KEY, WEBHOOK_SECRET)


@pytest.fixture
async def callsheet_api(api: Api) -> ApiConfig:
    key = await api_keys.create(api.resources, "acme", DEFAULT_SCOPES)
    secret = (await api.http.get("/v1/account/callback-secret")).json()["secret"]
    return ApiConfig(str(api.http.base_url), key, secret)


@pytest.fixture
async def media() -> AsyncIterator[MediaHost]:
    async with media_host() as host:
        yield host


async def run_task(there: ApiConfig, body: dict[str, Any]) -> TaskRun:
    """Create a subject, poll it to its end, find it in the list, and take its callbacks."""
    async with provider_api_client(there) as caller, webhook_receiver() as receiver:
        body = body | {"external_task_id": "mine-1", "callback_url": receiver.url}
        created = await caller.create(body)
        assert set(created) == CREATED
        assert created["task_info"] == {"external_task_id": "mine-1"}
        ended = await caller.wait_until_finished(created["task_id"])
        assert ended == await caller.query("mine-1")
        page = await caller.page(pageNum=1, pageSize=30)
        assert ended in page
        callbacks = await caller.verified_callbacks(receiver)
        assert {body["task_id"] for body in callbacks} == {created["task_id"]}
        assert callbacks[-1]["task_status"] == ended["task_status"]
        return TaskRun(created, ended, page, callbacks)


def assert_same_run(there: TaskRun, here: TaskRun) -> None:
    """Both runs have equal names and types, and equal values where the client gave them."""
    assert json_shape(here.created) == json_shape(there.created)
    assert json_shape(here.ended) == json_shape(there.ended)
    assert (here.ended["task_status"], here.created["task_status"]) == ("succeed", "submitted")
    (element,), (expected,) = (run.ended["task_result"]["elements"] for run in (here, there))
    for name in ("element_name", "element_description", "reference_type", "tag_list", "status"):
        assert element[name] == expected[name]
    assert isinstance(element["element_id"], int)
    last, expected = here.callbacks[-1], there.callbacks[-1]
    assert json_shape(last) == json_shape(expected)
    assert last["task_result"]["elements"][0]["element_id"] == element["element_id"]


async def test_images_by_url(
    api: Api, callsheet_api: ApiConfig, provider_api: ApiConfig, media: MediaHost
) -> None:
    body = request_body(**media.images("front", "side"))
    async with running_worker(api.resources.settings):
        here = await run_task(callsheet_api, body)
    there = await run_task(provider_api, body)
    assert_same_run(there, here)
    (element,), (expected,) = (run.ended["task_result"]["elements"] for run in (here, there))
    assert [element[name] for name in MATERIALS] == [expected[name] for name in MATERIALS]


async def test_images_as_base64(
    api: Api, callsheet_api: ApiConfig, provider_api: ApiConfig
) -> None:
    async with running_worker(api.resources.settings):
        here = await run_task(callsheet_api, request_body())
    assert_same_run(await run_task(provider_api, request_body()), here)


async def test_a_video_with_a_voice(
    api: Api, callsheet_api: ApiConfig, provider_api: ApiConfig, media: MediaHost
) -> None:
    body = request_body(
        **media.video("film"), element_image_list=None, element_voice_id="829836802793406000"
    )
    async with running_worker(api.resources.settings):
        here = await run_task(callsheet_api, body)
    assert_same_run(await run_task(provider_api, body), here)


async def test_what_fails_says_why(
    api: Api, callsheet_api: ApiConfig, provider_api: ApiConfig, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"fail": "no face was found", "times": 2})
    async with running_worker(api.resources.settings):
        here = await run_task(callsheet_api, request_body())
    there = await run_task(provider_api, request_body())
    assert json_shape(here.ended) == json_shape(there.ended)
    for task in (here.ended, here.callbacks[-1], there.ended):
        assert (task["task_status"], task["task_status_msg"]) == ("failed", "no face was found")


async def test_before_anything_is_sent_a_task_reads_submitted(
    callsheet_api: ApiConfig, provider_api: ApiConfig, provider: SimulatorClient
) -> None:
    await provider.admin("settings", {"processing_after": 600.0, "finished_after": 600.0})
    shapes = []
    for there in (callsheet_api, provider_api):
        async with provider_api_client(there) as caller:
            made = await caller.create(request_body())
            read = await caller.query(made["task_id"])
            assert read == made | {"task_status_msg": ""}
            assert (read["task_status"], read["task_info"]) == (
                "submitted",
                {"external_task_id": ""},
            )
            shapes.append(json_shape(read))
    assert shapes[0] == shapes[1]


async def test_a_canceled_one_reads_failed(api: Api, callsheet_api: ApiConfig) -> None:
    async with provider_api_client(callsheet_api) as caller:
        made = await caller.create(request_body(external_task_id="mine"))
        await api.http.post(f"/v1/subjects/{made['task_id']}/cancel")
        read = await caller.query("mine")
    assert (read["task_status"], read["task_status_msg"]) == ("failed", "canceled")


async def names(caller: ProviderApiClient, **query: int) -> list[str]:
    return [task["task_info"]["external_task_id"] for task in await caller.page(**query)]


async def test_pages_are_numbered_and_the_newest_come_first(
    callsheet_api: ApiConfig, provider_api: ApiConfig, clock: Clock
) -> None:
    for there in (callsheet_api, provider_api):
        async with provider_api_client(there) as caller:
            assert await caller.page() == []
            for number in range(32):
                clock.advance(1)
                await caller.create(request_body(external_task_id=f"n{number:02}"))
            newest = [f"n{number:02}" for number in reversed(range(32))]
            assert await names(caller) == newest[:30]
            assert await names(caller, pageNum=2) == newest[30:]
            assert await names(caller, pageSize=500) == newest
            assert await names(caller, pageNum=3, pageSize=5) == newest[10:15]
            assert await caller.page(pageNum=1000, pageSize=500) == []


async def test_slashes_at_the_end_and_in_ids_are_accepted(callsheet_api: ApiConfig) -> None:
    async with provider_api_client(callsheet_api) as caller:
        answer = await caller.http.post(f"{PATH}/", json=request_body(external_task_id="a/b%c?d#/"))
        made = answer.json()["data"]
        assert await caller.query(made["task_id"] + "/") == await caller.query(made["task_id"])
        read = await caller.query("a%2Fb%25c%3Fd%23%2F")
        assert read == await caller.query("a%2Fb%25c%3Fd%23%2F/")
        assert read["task_id"] == made["task_id"]
        assert (await caller.http.get(f"{PATH}/?pageSize=1")).json()["data"] == [read]


async def test_our_id_takes_precedence_over_an_external_id(callsheet_api: ApiConfig) -> None:
    async with provider_api_client(callsheet_api) as caller:
        first = await caller.create(request_body())
        second = await caller.create(request_body(external_task_id=first["task_id"]))
        assert (await caller.query(first["task_id"]))["task_info"] == {"external_task_id": ""}
        assert (await caller.query(second["task_id"]))["task_info"] == {
            "external_task_id": first["task_id"]
        }


async def test_we_may_be_our_own_provider(api: Api, callsheet_api: ApiConfig, clock: Clock) -> None:
    """Our client, which branches on codes and on two messages, understands our answers."""
    body = request_body(external_task_id="sub_1", callback_url="http://127.0.0.1:65009/")
    remote = ProviderClient(callsheet_api.base_url, ProviderApiKey(callsheet_api.key), 30.0, clock)
    try:
        assert isinstance(await remote.look_up("sub_1"), TaskNotFound)
        made = await remote.create(body)
        assert isinstance(made, TaskAccepted)
        assert isinstance(await remote.create(body), AlreadyExists)
        found = await remote.look_up("sub_1")
        assert isinstance(found, TaskFound)
        assert found.report.provider_task_id == made.report.provider_task_id
        assert (await api.read(found.report.provider_task_id))["external_task_id"] == "sub_1"
    finally:
        await remote.aclose()


UNSET: dict[str, object] = {
    "element_video_list": None,
    "element_voice_id": None,
    "tag_list": [],
    "callback_url": "",
    "external_task_id": None,
    "model_name": None,
    "watermark_info": {"enabled": False},
}


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_unset_and_unknown_fields_are_ignored(api: Api, path: str) -> None:
    images = request_body()["element_image_list"]
    assert isinstance(images, dict)
    others = [{"image_url": image["image_url"], "mask": None} for image in images["refer_images"]]
    body = request_body(tag_list=None) | UNSET
    body["element_image_list"] = images | {"refer_images": [*others, None], "style": ""}
    answer = await api.http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (200, 0), answer.text
    made = await api.read(answer.json()["data"]["task_id"])
    plain = await api.create(tag_list=[])
    assert (made["tag_list"], made["external_task_id"], made["element_voice_id"]) == (
        [],
        None,
        None,
    )
    assert made.keys() == plain.keys() | {"queue", "why"}
    for name in (made["id"], f"{made['id']}/", "", "?pageNum=1"):
        found = await api.http.get(f"{path.rstrip('/')}/{name}")
        assert (found.status_code, found.json()["code"]) == (200, 0), found.text


async def test_what_is_not_set_and_needed_is_refused_in_the_envelope(api: Api) -> None:
    answer = await api.http.post(f"{PATH}/", json=request_body() | {"element_name": ""})
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert answer.json()["message"] == "/element_name: element_name is required"


async def test_on_our_own_paths_an_unknown_field_is_refused(api: Api) -> None:
    answer = await api.http.post("/v1/subjects", json=request_body() | {"model_name": "kling-v1"})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/model_name"]
