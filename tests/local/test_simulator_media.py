"""Media by address are really fetched; what is wrong with them fails the task."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.local.simulator import media
from tests.support.http_server import http_server
from tests.support.request_bodies import JPEG_BASE64, image_list, picture
from tests.support.simulator import FINISH_AT_ONCE, simulator
from tests.support.webhook_receiver import webhook_receiver

MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(20)


@asynccontextmanager
async def files(**contents: bytes) -> AsyncIterator[str]:
    """A media server; everything not named is 404."""

    async def get(request: Request) -> Response:
        content = contents.get(request.path_params["name"])
        return Response(status_code=404) if content is None else Response(content)

    async with http_server(Starlette(routes=[Route("/{name}", get)])) as address:
        yield address


def images(frontal: str) -> dict[str, object]:
    """The change of a request that makes it the frontal image."""
    return {"element_image_list": image_list(frontal, JPEG_BASE64)}


def video_fields(url: str) -> dict[str, object]:
    """The changes that make a request one for a video subject."""
    return {
        "reference_type": "video_refer",
        "element_image_list": None,
        "element_video_list": {"refer_videos": [{"video_url": url}]},
    }


@pytest.mark.parametrize(
    ("name", "end", "said"),
    [
        ("jpeg", "succeed", ""),
        ("mp4", "failed", "frontal_image: not JPEG or PNG"),
        ("large", "failed", "frontal_image: larger than 10 MB"),
        ("gone", "failed", "frontal_image: could not be downloaded (ClientResponseError)"),
    ],
)
async def test_an_image_by_address_is_judged(name: str, end: str, said: str) -> None:
    contents = {"jpeg": picture(), "mp4": MP4, "large": picture() + bytes(media.MAX_IMAGE)}
    async with files(**contents) as address, simulator() as remote:
        await remote.create(external_task_id="a", **images(f"{address}/{name}"))
        record = await remote.wait_until_finished("a")
    assert (record["task_status"], record["task_status_msg"]) == (end, said)


@pytest.mark.parametrize(
    ("name", "end", "said"),
    [
        ("mp4", "succeed", ""),
        ("text", "failed", "refer_videos[0]: not MP4 or MOV"),
        ("empty", "failed", "refer_videos[0]: not MP4 or MOV"),
    ],
)
async def test_a_video_by_address_is_judged(name: str, end: str, said: str) -> None:
    contents = {"mp4": MP4, "text": b"no video at all", "empty": b""}
    async with files(**contents) as address, simulator() as remote:
        await remote.create(external_task_id="a", **video_fields(f"{address}/{name}"))
        record = await remote.wait_until_finished("a")
    assert (record["task_status"], record["task_status_msg"]) == (end, said)


async def test_a_video_subject_shows_its_video_and_voice_in_both_shapes() -> None:
    settings = replace(FINISH_AT_ONCE, shape="current")
    async with files(mp4=MP4) as address, webhook_receiver() as back, simulator(settings) as remote:
        changes = video_fields(f"{address}/mp4") | {"element_voice_id": "v1"}
        await remote.create(external_task_id="a", callback_url=back.url, **changes)
        [element] = (await remote.wait_until_finished("a"))["task_result"]["elements"]
        got = await back.wait_for(3)
    assert element["element_video_list"]["refer_videos"] == [{"video_url": f"{address}/mp4"}]
    assert element["element_voice_info"]["voice_id"] == "v1"
    assert b'"element_type":"video_character_elements"' in got[2][1]
    assert b'"role":"refer_videos"' in got[2][1]


@pytest.mark.parametrize(
    "path", ["/a%27b.png?sig=AB%2Fcd%3D", "/led?to=/a%2527b.png%3Fsig=AB%252Fcd"]
)
async def test_an_address_is_asked_for_in_the_letters_given_and_after_a_redirect(path: str) -> None:
    asked: list[bytes] = []

    async def get(request: Request) -> Response:
        asked.append(request.scope["raw_path"] + b"?" + request.scope["query_string"])
        if to := request.query_params.get("to"):
            return Response(status_code=302, headers={"location": to})
        return Response(picture())

    async with (
        http_server(Starlette(routes=[Route("/{name}", get)])) as address,
        simulator() as remote,
    ):
        await remote.create(external_task_id="a", **images(f"{address}{path}"))
        record = await remote.wait_until_finished("a")
    assert record["task_status"] == "succeed"
    assert asked[-1].startswith(b"/a%27b.png?sig=AB%2Fcd")


async def test_an_address_that_leads_round_in_a_circle_fails_the_task() -> None:
    async def get(_: Request) -> Response:
        return Response(status_code=302, headers={"location": "/round"})

    async with (
        http_server(Starlette(routes=[Route("/round", get)])) as address,
        simulator() as remote,
    ):
        await remote.create(external_task_id="a", **images(f"{address}/round"))
        record = await remote.wait_until_finished("a")
    assert record["task_status_msg"] == "frontal_image: could not be downloaded (ValueError)"


async def test_nothing_is_fetched_if_the_settings_say_so() -> None:
    async with simulator(replace(FINISH_AT_ONCE, fetch_media=False)) as remote:
        await remote.create(external_task_id="a", **images("http://127.0.0.1:65009/none"))
        record = await remote.wait_until_finished("a")
    assert record["task_status"] == "succeed"
