"""Media given by URL are checked before anything is sent to the provider."""

import base64
from collections.abc import AsyncIterator

import pytest
from structlog.typing import EventDict

from service.media.domain.image import MAX_BYTES
from service.media.steps.check_media import RETRY_DELAYS
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.media_host import (
    VIDEO_FILE,
    MediaHost,
    media_host,
    media_row,
    padded_jpeg,
    padded_video,
)
from tests.support.request_bodies import picture
from tests.support.simulator import SimulatorClient

FRONTAL = "element_image_list/frontal_image"
FIRST_REFER = "element_image_list/refer_images/0/image_url"
VIDEO = "element_video_list/refer_videos/0/video_url"


@pytest.fixture
async def media() -> AsyncIterator[MediaHost]:
    async with media_host() as host:
        yield host


async def provider_creates(provider: SimulatorClient) -> list[object]:
    """The bodies of all creates that the provider got."""
    return list((await provider.ledger())["creates"])


async def media_failure(api: Api, provider: SimulatorClient, **changes: object) -> tuple[str, str]:
    """Code and message of a subject that fails when its media are checked, and not later."""
    subject_id = (await api.create(**changes))["id"]
    await api.work(Work.CHECK_MEDIA)
    await api.work(Work.SUBMIT)
    subject = await api.read(subject_id)
    assert subject["state"] == "failed", subject
    assert await api.event_types(subject_id) == ["queued", "failed"]
    error = subject["error"]
    assert set(error) == {"code", "message"}
    assert "secret" not in error["message"]
    assert "127.0.0.1" not in error["message"]
    assert await provider_creates(provider) == []
    assert await api.violations() == []
    return error["code"], error["message"]


async def test_good_images_by_url_are_checked_and_then_sent(
    api: Api, provider: SimulatorClient, media: MediaHost, logged: list[EventDict]
) -> None:
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    await api.work(Work.SUBMIT)
    assert await provider_creates(provider) == [], "not before they are checked"
    await api.work(Work.CHECK_MEDIA)
    assert await media_row(api.resources, subject_id) == {
        "state": "queued",
        "media_check_at": None,
        "media_lease_token": None,
        "media_check_attempts": 0,
    }
    (line,) = [line for line in logged if line.get("action") == "media_checked"]
    assert (line["outcome"], line["fetched"], line["found"]) == ("passed", 2, [])
    assert line["bytes"] == len(picture(shade=1)) + len(picture(shade=2))
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
    assert await api.violations() == []


async def test_a_good_video_is_checked_and_then_sent(
    api: Api, provider: SimulatorClient, media: MediaHost
) -> None:
    media.files["large"] = padded_video(40_000_000)
    ids = [(await api.create(**media.video(name)))["id"] for name in ("film", "large")]
    await api.work(Work.CHECK_MEDIA)
    await api.work(Work.SUBMIT)
    assert [(await api.wait_until_finished(id_))["state"] for id_ in ids] == ["succeeded"] * 2
    assert len(await provider_creates(provider)) == 2


async def test_images_in_base64_need_no_check(api: Api) -> None:
    subject_id = (await api.create())["id"]
    assert (await media_row(api.resources, subject_id))["media_check_at"] is None
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"


SMALL = picture(size=(320, 299))
BAD_IMAGES: dict[str, tuple[bytes | int, str]] = {
    "small": (SMALL, "media_too_small"),
    "wide": (picture(size=(801, 320)), "media_ratio"),
    "cut short": (picture()[:-100], "media_truncated"),
    "a GIF": (picture("GIF"), "media_wrong_type"),
    "a video": (VIDEO_FILE, "media_wrong_type"),
    "a page": (b"<html>", "media_wrong_type"),
    "nothing": (b"", "media_wrong_type"),
    "one byte too large": (padded_jpeg(picture(), MAX_BYTES + 1), "media_too_large"),
    "not there": (404, "media_not_found"),
    "not there any more": (410, "media_not_found"),
    "not for us": (403, "media_refused"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
async def test_a_bad_image_fails_its_subject_and_is_never_sent(
    api: Api, provider: SimulatorClient, media: MediaHost, kind: str
) -> None:
    media.files["bad"], expected = BAD_IMAGES[kind]
    code, message = await media_failure(api, provider, **media.images("front", "bad"))
    assert code == expected
    assert message.startswith(f"{FIRST_REFER} ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_an_image_as_large_as_may_be_is_good(api: Api, media: MediaHost, kind: str) -> None:
    media.files["large"] = padded_jpeg(picture(kind), MAX_BYTES)
    subject_id = (await api.create(**media.images("front", "large")))["id"]
    await api.work(Work.CHECK_MEDIA)
    assert (await media_row(api.resources, subject_id))["media_check_at"] is None


BAD_VIDEOS: dict[str, tuple[bytes | int, str]] = {
    "a picture": (picture(), "media_wrong_type"),
    "nothing": (b"", "media_wrong_type"),
    "cut short": (VIDEO_FILE[: len(VIDEO_FILE) // 2], "media_truncated"),
    "not there": (404, "media_not_found"),
}


@pytest.mark.parametrize("kind", BAD_VIDEOS)
async def test_a_bad_video_fails_its_subject_and_is_never_sent(
    api: Api, provider: SimulatorClient, media: MediaHost, kind: str
) -> None:
    media.files["bad"], expected = BAD_VIDEOS[kind]
    code, message = await media_failure(api, provider, **media.video("bad"))
    assert code == expected
    assert message.startswith(f"{VIDEO} ")


async def test_a_file_that_is_no_video_is_read_no_further_than_shows_it(
    api: Api, provider: SimulatorClient, media: MediaHost, logged: list[EventDict]
) -> None:
    media.files["bad"] = padded_jpeg(picture(), 50_000_000)
    assert (await media_failure(api, provider, **media.video("bad")))[0] == "media_wrong_type"
    (line,) = [line for line in logged if line.get("action") == "media_checked"]
    assert line["bytes"] < 1_000_000


async def test_all_defects_are_reported_at_once(
    api: Api, provider: SimulatorClient, media: MediaHost
) -> None:
    media.files |= {"a": SMALL, "b": 404, "c": 503}
    code, message = await media_failure(api, provider, **media.images("c", "a", "front", "b"))
    assert code == "media_too_small", "the first that will not pass by itself"
    fields = [word for word in message.split() if word.startswith("element_image_list")]
    assert fields == [
        FIRST_REFER,
        "element_image_list/refer_images/2/image_url",
        FRONTAL,
    ]


async def test_images_must_differ_by_content(
    api: Api, provider: SimulatorClient, media: MediaHost
) -> None:
    media.files["copy"] = media.files["front"]
    code, message = await media_failure(api, provider, **media.images("front", "side", "copy"))
    assert code == "media_duplicate"
    assert message.startswith("element_image_list/refer_images/1/image_url must differ from")
    assert FRONTAL in message


async def test_images_must_differ_from_those_in_base64_too(
    api: Api, provider: SimulatorClient, media: MediaHost
) -> None:
    inline = picture(shade=1)
    images = media.images("front", "side")["element_image_list"]
    images["refer_images"].append({"image_url": base64.b64encode(inline).decode()})
    code, message = await media_failure(api, provider, element_image_list=images)
    assert code == "media_duplicate"
    assert message.startswith("element_image_list/refer_images/1/image_url must differ from")
    assert FRONTAL in message


async def test_other_images_of_the_same_content_are_good_and_warned_of_from_then_on(
    api: Api, provider: SimulatorClient, media: MediaHost
) -> None:
    media.files["copy"] = media.files["side"]
    subject_id = (await api.create(**media.images("front", "side", "copy")))["id"]
    path = f"/v1/subjects/{subject_id}"
    before = await api.http.get(path)
    assert "warnings" not in before.json()
    await api.work(Work.CHECK_MEDIA)
    tag = {"if-none-match": before.headers["etag"]}
    after = await api.http.get(path, headers=tag)
    assert after.status_code == 200, "it is another one"
    (warning,) = after.json()["warnings"]
    second = "element_image_list/refer_images/1/image_url"
    assert (warning["pointer"], warning["code"]) == (f"/{second}", "duplicate_image")
    assert warning["message"] == f"{second} has the same content as {FIRST_REFER}"
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["warnings"] == [warning]
    events = (await api.http.get(f"{path}/events")).json()["data"]
    assert [event["data"].get("warnings") for event in events] == [None, *[[warning]] * 3]
    assert len(await provider_creates(provider)) == 1


async def test_warnings_of_the_request_stay_beside_those_of_the_check(
    api: Api, media: MediaHost
) -> None:
    media.files["copy"] = media.files["side"]
    created = await api.create(
        element_video_list={}, **media.images("front", "side", "copy", "side")
    )
    pointers = ["/element_image_list/refer_images/2/image_url", "/element_video_list"]
    assert sorted(warning["pointer"] for warning in created["warnings"]) == pointers
    await api.work(Work.CHECK_MEDIA)
    warnings = (await api.read(created["id"]))["warnings"]
    assert warnings[:2] == created["warnings"]
    assert [warning["pointer"] for warning in warnings[2:]] == [
        "/element_image_list/refer_images/1/image_url"
    ]


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]", "192.168.1.1:8080"]
)
async def test_a_private_address_is_blocked_and_not_tried_again(
    api: Api, provider: SimulatorClient, address: str
) -> None:
    video = {"refer_videos": [{"video_url": f"http://{address}/a.mp4"}]}
    changes = {"reference_type": "video_refer", "element_video_list": video}
    code, message = await media_failure(api, provider, **changes)
    assert code == "media_blocked"
    assert address not in message


async def test_media_out_of_reach_are_tried_again_and_then_given_up(
    api: Api, provider: SimulatorClient, media: MediaHost, clock: Clock
) -> None:
    media.files["bad"] = 503
    subject_id = (await api.create(**media.images("bad", "front")))["id"]
    for attempts, wait in enumerate(RETRY_DELAYS, start=1):
        await api.work(Work.CHECK_MEDIA)
        row = await media_row(api.resources, subject_id)
        assert (row["state"], row["media_check_attempts"], row["media_lease_token"]) == (
            "queued",
            attempts,
            None,
        )
        assert (row["media_check_at"] - clock()).total_seconds() == wait, (
            "the random number is a half"
        )
        clock.advance(wait - 0.1)
        await api.work(Work.CHECK_MEDIA)
        await api.work(Work.SUBMIT)
        assert media.request_counts["bad"] == attempts, "not before its time"
        clock.advance(0.1)
    await api.work(Work.CHECK_MEDIA)
    subject = await api.read(subject_id)
    assert (subject["state"], subject["error"]["code"]) == ("failed", "media_unreachable")
    assert "503" in subject["error"]["message"]
    assert media.request_counts["bad"] == len(RETRY_DELAYS) + 1
    assert await provider_creates(provider) == []
    assert await api.event_types(subject_id) == ["queued", "failed"]


async def test_media_in_reach_again_are_good(api: Api, media: MediaHost, clock: Clock) -> None:
    media.files["bad"] = 503
    subject_id = (await api.create(**media.images("bad", "side")))["id"]
    await api.work(Work.CHECK_MEDIA)
    media.files["bad"] = picture(shade=9)
    clock.advance(RETRY_DELAYS[0])
    await api.work(Work.CHECK_MEDIA)
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
