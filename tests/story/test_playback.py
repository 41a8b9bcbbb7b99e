"""Stories of a small storm are played back, and the moves are the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec import structs

from service.accounts.domain.scopes import SCOPES
from service.local.playback import Playback, settings
from service.story.domain.moves import Move, compared
from service.story.domain.story_file import StoryFile, read_story
from service.subjects.domain.lifecycle import Signal, State
from service.wiring import utc_now
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.request_bodies import image_list, video_url_body
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until
from tests.support.worker import running_worker, wait_until_listening

PASS_DEADLINE = """
    UPDATE subjects SET deadline = clock_timestamp()
    WHERE document ->> 'element_name' = $1 AND state = 'processing' RETURNING id
"""
STORM: dict[str, list[dict[str, object]]] = {  # faults, by the name of the subject that meets them
    "lost, then found": [{"answer": "drop", "lose": True}],
    "lost, never arrived": [{"answer": "drop", "accept": False}],
    "overtaken answer": [{"before_answer": 2}],
    "thrice called back": [{"duplicate": 2}],
    "never called back": [{"lose": True}],
    "failed there": [{"fail": "no face was found", "processing_after": 0.3}],
    "over the limit": [{"code": 1303}],
    "refused": [{"code": 1301}],
    "in disorder": [{"reorder": True}],
    "contradicted": [{"contradict": True}],
    "the end is polled": [{"lose": ["succeed"], "finished_after": 0.3}],
}


@pytest.fixture
def clock() -> Any:  # noqa: ANN401 - a clock that goes
    return utc_now


@pytest.fixture
def scopes() -> Sequence[str]:
    return SCOPES


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    quick = {"POLL_AFTER": "0.3", "NOT_FOUND_GRACE": "0.5", "SWEEP_INTERVAL": "0.1"}
    return environ | {f"CALLSHEET_{name}": text for name, text in quick.items()}


@pytest.fixture
async def service(api: Api) -> AsyncIterator[Api]:
    """A caller and a worker that runs."""
    async with running_worker(api.resources.settings):
        await wait_until_listening(api.resources)
        yield api


async def story_of(api: Api, subject_id: str) -> StoryFile:
    answer = await api.http.get(f"/v1/subjects/{subject_id}/story")
    return read_story(answer.content)


async def lived(api: Api, provider: SimulatorClient, name: str) -> StoryFile:
    """The story of a subject that has met the storm's faults of this name."""
    faults = [{"element_name": name, **fault} for fault in STORM[name]]
    await provider.admin("faults", faults)
    subject_id = (await api.create(name=name))["id"]
    await api.wait_until_finished(subject_id)
    return await story_of(api, subject_id)


async def test_what_happened_in_a_storm_happens_again(
    service: Api, provider: SimulatorClient
) -> None:
    stories = dict(
        zip(
            STORM,
            await asyncio.gather(*(lived(service, provider, name) for name in STORM)),
            strict=True,
        )
    )
    assert len({tuple(compared(story.moves)) for story in stories.values()}) > len(STORM) / 2
    results = await asyncio.gather(
        *(
            Playback(story, service.http, provider.http, f"{number} again").run()
            for number, story in enumerate(stories.values())
        )
    )
    assert dict(zip(stories, results, strict=True)) == {name: [] for name in stories}
    assert await service.violations() == []


async def test_a_cancel_out_of_the_queue_happens_again(
    service: Api, provider: SimulatorClient
) -> None:
    hold = {"what": "submissions", "reason": "so that it stays queued"}
    held = (await service.http.post("/v1/holds", json=hold)).json()["id"]
    subject_id = (await service.create())["id"]
    await service.http.post(f"/v1/subjects/{subject_id}/cancel")
    await service.http.delete(f"/v1/holds/{held}")
    story = await story_of(service, subject_id)
    assert compared(story.moves) == ["queued -> canceled by cancel"]
    assert await Playback(story, service.http, provider.http).run() == []
    assert (await service.http.get("/v1/holds")).json()["data"] == []


async def end_by_deadline(api: Api, name: str) -> None:
    """Let the deadline of the subject of this name be now, once the provider works on it."""

    async def moved() -> bool:
        return bool(await fetch(api.resources, PASS_DEADLINE, name))

    await wait_until(moved)


async def test_a_missed_deadline_happens_again(service: Api, provider: SimulatorClient) -> None:
    await provider.admin("faults", {"stuck": True})
    _, subject = await asyncio.gather(end_by_deadline(service, "Ada"), service.create())
    await service.wait_until_finished(subject["id"])
    story = await story_of(service, subject["id"])
    assert story.moves[-1].signal == "deadline"
    assert 3 < float(settings(story)["TASK_DEADLINE"]) < 10
    playback = Playback(story, service.http, provider.http, "Ada again")
    _, diff = await asyncio.gather(end_by_deadline(service, "Ada again"), playback.run())
    assert diff == []


async def test_bad_media_are_bad_again(service: Api, provider: SimulatorClient) -> None:
    url = f"{provider.http.base_url}/_simulator/media/"
    images = image_list(f"{url}bad", f"{url}red.png")
    subject = await service.create(element_image_list=images)
    await service.wait_until_finished(subject["id"])
    story = await story_of(service, subject["id"])
    assert compared(story.moves) == ["queued -> failed by refused"]
    assert await Playback(story, service.http, provider.http).run() == []


async def test_a_film_is_made_for_a_story_of_one(service: Api, provider: SimulatorClient) -> None:
    film = {"refer_videos": [{"video_url": f"{provider.http.base_url}/_simulator/media/film.mp4"}]}
    answer = await service.http.post("/v1/subjects", json=video_url_body(element_video_list=film))
    subject_id = answer.json()["id"]
    assert (await service.wait_until_finished(subject_id))["state"] == "succeeded"
    story = await story_of(service, subject_id)
    assert await Playback(story, service.http, provider.http).run() == []


async def test_other_moves_are_shown_as_a_diff(service: Api, provider: SimulatorClient) -> None:
    story = await lived(service, provider, "refused")
    other = [Move(State.SUBMITTING, State.SUCCEEDED, Signal.SUCCEEDED)]
    claimed = structs.replace(story, moves=other)
    diff = await Playback(claimed, service.http, provider.http).run()
    assert diff[-2:] == [
        "-submitting -> succeeded by succeeded",
        "+submitting -> failed by refused",
    ]
