"""Long polls: answered as soon as there is something, or in vain after so many seconds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.event_streams import FeedApi, feed_api
from tests.support.subjects import add_subject, ids_of
from tests.support.waiting import wait_until


@pytest.fixture
async def world(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    async with feed_api(resources, account) as world:
        yield world


async def page(world: FeedApi, path: str, **params: object) -> dict[str, Any]:
    answer = await world.get(path, **{name: str(value) for name, value in params.items()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_it_is_answered_at_once_if_there_is_something(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    for path in ("/v1/events", f"/v1/subjects/{made.id}/events"):
        assert len((await page(world, path, wait=60))["data"]) == 1


@pytest.mark.parametrize("wait", [60, 999])
async def test_it_is_answered_with_the_first_event_that_comes(world: FeedApi, wait: int) -> None:
    (made,) = await world.add_subjects()
    path = f"/v1/subjects/{made.id}/events"
    after = (await page(world, "/v1/events"))["next_cursor"]
    polls = [
        asyncio.create_task(page(world, "/v1/events", after=after, wait=wait, limit=1)),
        asyncio.create_task(page(world, path, after=1, wait=wait)),
    ]
    await wait_until(lambda: world.reader_count() == len(polls))
    await transition(world.resources, made.id, StatusUpdate(Signal.SUBMITTED, provider_task_id="7"))
    feed, subject = await asyncio.gather(*polls)
    assert feed["data"] == subject["data"]
    assert [event["data"]["sequence"] for event in subject["data"]] == [2]
    assert subject["next_cursor"] == "2"
    assert (await page(world, "/v1/events"))["next_cursor"] == feed["next_cursor"]
    assert world.reader_count() == 0


async def test_it_gives_no_more_than_was_asked_for_and_no_less_in_the_end(world: FeedApi) -> None:
    poll = asyncio.create_task(page(world, "/v1/events", wait=60, limit=1))
    await wait_until(lambda: world.reader_count() == 1)
    async with world.resources.database.transaction() as tx:  # they come together
        made = [await add_subject(tx, world.resources, world.account) for _ in range(3)]
    first = await poll
    rest = await page(world, "/v1/events", after=first["next_cursor"], wait=60)
    received_ids = [event["data"]["id"] for event in first["data"] + rest["data"]]
    assert (len(first["data"]), received_ids) == (1, ids_of(*made))


async def test_one_in_vain_is_answered_with_its_own_cursor(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    path = f"/v1/subjects/{made.id}/events"
    assert await page(world, path, after=1, wait=1) == {"data": [], "next_cursor": "1"}
    after = (await page(world, "/v1/events"))["next_cursor"]
    nothing = {"data": [], "next_cursor": after}
    assert await page(world, "/v1/events", after=after, wait=1) == nothing


async def test_a_wait_that_is_no_number_of_seconds_is_refused(world: FeedApi) -> None:
    for wait in ("-1", "x", "", "1.5"):
        answer = await world.get("/v1/events", wait=wait)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/wait"
