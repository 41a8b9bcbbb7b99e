"""Prefer: wait, which holds the answer back until there is something else to say."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest

from service.event_feed.steps import event_hub
from service.kit.http.headers import Headers
from service.resources import Resources
from service.status.web import conditional
from service.status.web.conditional import preferred_wait
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.database import fetch
from tests.support.event_streams import FeedApi, feed_api
from tests.support.waiting import wait_until

PATIENCE = 20.0  # seconds, less than any wait here that must not come to its end
SUBMITTED = StatusUpdate(Signal.SUBMITTED, provider_task_id="7")
SUCCEEDED = StatusUpdate(Signal.SUCCEEDED, provider_task_id="7", result={"element_id": "1"})


@pytest.fixture
async def world(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    async with feed_api(resources, account) as world:
        yield world


async def read_subject(
    world: FeedApi, subject_id: str, *headers: tuple[str, str]
) -> httpx.Response:
    key = ("authorization", f"Bearer {world.key}")
    async with httpx.AsyncClient(trust_env=False, timeout=90) as http:
        url = f"http://127.0.0.1:{world.web.port}/v1/subjects/{subject_id}"
        return await http.get(url, headers=[key, *headers])


@contextmanager
def waiting(
    world: FeedApi, subject_id: str, *headers: tuple[str, str]
) -> Iterator["asyncio.Task[httpx.Response]"]:
    """One who waits; gone at the end."""
    preference = ("prefer", "wait=60")
    task = asyncio.create_task(read_subject(world, subject_id, preference, *headers))
    try:
        yield task
    finally:
        task.cancel()


async def waited(world: FeedApi, task: "asyncio.Task[httpx.Response]") -> httpx.Response:
    async with asyncio.timeout(PATIENCE):
        answer = await task
        await wait_until(lambda: world.reader_count() == 0)
        return answer


async def move(world: FeedApi, subject_id: str, update: StatusUpdate) -> None:
    await transition(world.resources, subject_id, update)


async def test_it_is_answered_with_the_next_change(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    with waiting(world, made.id) as task:
        await wait_until(lambda: world.reader_count() == 1)
        await move(world, made.id, SUBMITTED)
        answer = await waited(world, task)
    assert (answer.status_code, answer.json()["state"]) == (200, "submitted")
    assert answer.headers["preference-applied"] == "wait=60"


async def test_a_change_that_makes_no_event_is_found_as_well(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    with waiting(world, made.id) as task:
        await wait_until(lambda: world.reader_count() == 1)
        await submit.claim(world.resources, 1)
        answer = await waited(world, task)
    assert (answer.json()["state"], answer.json()["version"]) == ("submitting", 1)


async def test_where_each_move_makes_an_event_nobody_looks_in_between(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    await move(world, made.id, SUBMITTED)
    with waiting(world, made.id) as task:
        await wait_until(lambda: world.reader_count() == 1)
        await move(world, made.id, SUCCEEDED)
        answer = await waited(world, task)
    assert answer.json()["state"] == "succeeded"
    assert "retry-after" not in answer.headers


async def test_one_in_vain_is_answered_with_what_there_is(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    answer = await read_subject(world, made.id, ("prefer", "wait=1"))
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.headers["preference-applied"] == "wait=1"
    answer = await read_subject(world, made.id, ("prefer", "wait=0"))
    assert answer.headers["preference-applied"] == "wait=0"


async def test_no_wait_lasts_until_a_proxy_would_cut_it(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [conditional.capped_wait(seconds) for seconds in (0, 54, 56, 60)] == [0, 54, 55, 55]
    monkeypatch.setattr(conditional, "MAX_LONG_POLL", 0)
    (made,) = await world.add_subjects()
    with waiting(world, made.id) as task:
        answer = await waited(world, task)
    assert (answer.json()["state"], answer.headers["preference-applied"]) == ("queued", "wait=60")
    async with asyncio.timeout(PATIENCE):
        answer = await world.get(f"/v1/subjects/{made.id}/events", after="1", wait="60")
    assert answer.json()["data"] == []


async def test_with_a_tag_it_waits_for_another(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    etag = (await read_subject(world, made.id)).headers["etag"]
    had = ("if-none-match", etag)
    in_vain = await read_subject(world, made.id, had, ("prefer", "wait=1"))
    assert (in_vain.status_code, in_vain.content) == (304, b"")
    assert in_vain.headers["preference-applied"] == "wait=1"
    with waiting(world, made.id, had) as task:
        await wait_until(lambda: world.reader_count() == 1)
        await move(world, made.id, SUBMITTED)
        assert (await waited(world, task)).json()["state"] == "submitted"
    with waiting(world, made.id, had) as task:  # it has been another all along
        assert (await waited(world, task)).json()["state"] == "submitted"


async def test_with_several_tags_it_waits_for_one_beside_them(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    had = ("if-none-match", 'W/"1-queued-0", W/"2-submitted-0"')
    with waiting(world, made.id, had) as task:
        await wait_until(lambda: world.reader_count() == 1)
        await move(world, made.id, SUBMITTED)
        await move(world, made.id, SUCCEEDED)
        assert (await waited(world, task)).json()["state"] == "succeeded"


async def test_what_has_ended_is_answered_at_once(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    await move(world, made.id, SUCCEEDED)
    with waiting(world, made.id) as task:
        answer = await waited(world, task)
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=60")
    with waiting(world, made.id, ("if-none-match", answer.headers["etag"])) as task:
        assert (await waited(world, task)).status_code == 304
    with waiting(world, "sub_none") as task:
        assert (await waited(world, task)).status_code == 404


async def test_what_vanishes_meanwhile_is_not_found(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    with waiting(world, made.id) as task:
        await wait_until(lambda: world.reader_count() == 1)
        await fetch(world.resources, "DELETE FROM events")
        await fetch(world.resources, "DELETE FROM subjects")
        assert (await waited(world, task)).status_code == 404


async def test_a_caller_that_goes_away_leaves_nothing_behind(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    request = f"GET /v1/subjects/{made.id} HTTP/1.1\r\nhost: x\r\nprefer: wait=60\r\n"
    request += f"authorization: Bearer {world.key}\r\n\r\n"
    await read_subject(world, made.id, ("prefer", "wait=1"))  # the hub is at work from now on
    usual = len(asyncio.all_tasks())
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", world.web.port)
        writer.write(request.encode())
        async with asyncio.timeout(PATIENCE):
            await wait_until(lambda: world.reader_count() == 1)
            writer.close()
            await wait_until(lambda: world.reader_count() == 0)
            await wait_until(lambda: len(asyncio.all_tasks()) <= usual)


async def test_the_end_of_the_process_ends_it_at_once(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    with waiting(world, made.id) as task:
        await wait_until(lambda: world.reader_count() == 1)
        world.web.app.state.hub.close()
        answer = await waited(world, task)
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.headers["connection"] == "close"
    with waiting(world, made.id) as task:
        answer = await waited(world, task)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert "preference-applied" not in answer.headers


async def test_where_there_is_no_place_to_wait_in_it_is_answered_at_once(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "MAX_READERS_PER_ACCOUNT", 0)
    (made,) = await world.add_subjects()
    with waiting(world, made.id) as task:
        answer = await waited(world, task)
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    assert "retry-after" in answer.headers


async def test_more_wait_than_there_are_connections_to_postgres(world: FeedApi) -> None:
    made = await world.add_subjects(40)
    tasks = [
        asyncio.create_task(read_subject(world, subject.id, ("prefer", "wait=60")))
        for subject in made
    ]
    await wait_until(lambda: world.reader_count() == len(made))
    assert (await read_subject(world, made[0].id)).json()["state"] == State.QUEUED
    for subject in made:
        await move(world, subject.id, StatusUpdate(Signal.CANCEL))
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*tasks)
    assert {answer.json()["state"] for answer in answers} == {"canceled"}


WAITS = [
    (["wait=5"], 5),
    (["wait=0"], 0),
    (["WAIT = 5"], 5),
    (['wait="5"'], 5),
    (['wait="\\5"'], 5),
    (["wait=\t007 ; x"], 7),
    (["wait=60"], 60),
    (["wait=61"], 60),
    (["wait=" + "9" * 5000], 60),
    (["wait=" + "0" * 5000 + "8"], 8),
    (["respond-async, wait=5"], 5),
    (["respond-async; a=b; c, ,wait=5;d"], 5),
    (['foo="a, wait=9"; bar="\\", wait=9", wait=5'], 5),
    (["respond-async", "wait=5"], 5),
    (["wait=5, wait=9"], 5),
    (["=1, wait=5"], 5),
    (['foo=1"2, wait=9", wait=5'], 5),
]
NO_WAITS = [
    [],
    [""],
    ["wait"],
    ["wait="],
    ['wait=""'],
    ["wait=, wait=5"],
    ["wait=-1"],
    ["wait=+1"],
    ["wait=1.5"],
    ["wait=5s"],
    ["wait=x, wait=5"],
    ["wait=5 6"],
    ['wait="5'],
    ['wait="5 "'],
    ["wait=\u00b2"],
    ["wait:5"],
    ["await=5"],
    ['foo="wait=5'],
    ["foo; wait=5"],
    ['"' * 60_001],
    ["wait " + " " * 60_000 + "x"],
    ["a;" * 30_000 + '"'],
    ["\\" * 60_000],
]


def prefer(lines: list[str]) -> Headers:
    return Headers([(b"prefer", line.encode("latin-1")) for line in lines])


@pytest.mark.parametrize(("lines", "seconds"), WAITS)
def test_a_preference_is_read_as_the_rfc_says(lines: list[str], seconds: int) -> None:
    assert preferred_wait(prefer(lines)) == seconds


@pytest.mark.parametrize("lines", NO_WAITS)
def test_what_is_no_preference_is_left_unheeded(lines: list[str]) -> None:
    assert preferred_wait(prefer(lines)) is None
