"""Event streams over real sockets: nothing missed, nothing twice, whoever commits when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.event_feed.steps import event_hub, feed_reader
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import transition
from tests.support.database import fetch
from tests.support.event_streams import FeedApi, feed_api, subject_ids, web_server
from tests.support.subjects import add_committed_subject, add_large_events, add_subject, ids_of


@pytest.fixture
async def world(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    async with feed_api(resources, account) as world:
        yield world


async def test_an_event_comes_as_the_feed_shows_it(world: FeedApi) -> None:
    async with world.stream() as reader:
        assert reader.status == 200
        assert reader.headers["content-type"] == "text/event-stream"
        assert reader.headers["cache-control"] == "no-cache, no-transform"
        assert reader.headers["x-accel-buffering"] == "no"
        (made,) = await world.add_subjects()
        frame = await reader.frame()
        assert 2000 <= reader.retry <= 5000
    page = (await world.get("/v1/events")).json()
    assert [frame.data] == page["data"]
    assert (frame.type, frame.id) == ("subject.queued", page["next_cursor"])
    assert subject_ids([frame]) == ids_of(made)


async def test_the_accounts_stream_starts_now_and_a_subjects_at_its_first_event(
    world: FeedApi,
) -> None:
    (before,) = await world.add_subjects()
    path = f"/v1/subjects/{before.id}/events"
    async with world.stream() as account, world.stream(path) as subject:
        (after,) = await world.add_subjects()
        update = StatusUpdate(Signal.SUBMITTED, provider_task_id="7")
        await transition(world.resources, before.id, update)
        assert subject_ids(await account.frames(2)) == ids_of(after, before)
        frames = await subject.frames(2)
        assert [(frame.id, frame.type) for frame in frames] == [
            ("1", "subject.queued"),
            ("2", "subject.submitted"),
        ]


@pytest.mark.parametrize("given", ["header", "query"])
async def test_a_stream_goes_on_after_the_id_it_is_given(world: FeedApi, given: str) -> None:
    made = await world.add_subjects(3)
    async with world.stream("/v1/events?after=0-0") as reader:
        first = await reader.frame()
    stream = (
        world.stream("/v1/events?after=0-0", last_event_id=first.id)  # the header wins
        if given == "header"
        else world.stream(f"/v1/events?after={first.id}")
    )
    async with stream as reader:
        assert subject_ids(await reader.frames(2)) == ids_of(*made[1:])
        made = await world.add_subjects(2)
        assert subject_ids(await reader.frames(2)) == ids_of(*made)


async def test_one_who_saw_no_event_yet_can_resume_too(world: FeedApi) -> None:
    async with world.stream() as reader:
        await reader.chunk()
    (missed,) = await world.add_subjects()
    async with world.stream(last_event_id=reader.last_id) as again:
        assert subject_ids([await again.frame()]) == ids_of(missed)


async def test_a_subjects_stream_goes_on_after_a_sequence(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    await transition(world.resources, made.id, StatusUpdate(Signal.SUBMITTED, provider_task_id="7"))
    async with world.stream(f"/v1/subjects/{made.id}/events", last_event_id="1") as reader:
        assert (await reader.frame()).id == "2"
        await transition(world.resources, made.id, StatusUpdate(Signal.FAILED, error={"code": "x"}))
        assert (await reader.frame()).type == "subject.failed"


async def test_a_history_longer_than_a_page_joins_what_is_live_without_a_seam(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_reader, "PAGE", 2)
    monkeypatch.setattr(event_hub, "PAGE", 2)
    made = await world.add_subjects(7)
    async with asyncio.TaskGroup() as group, world.stream("/v1/events?after=0-0") as reader:
        group.create_task(world.add_subjects(20))
        frames = await reader.frames(27)
    everything = [row["id"] for row in await fetch(world.resources, "SELECT id FROM subjects")]
    assert sorted(subject_ids(frames)) == sorted(everything)
    assert subject_ids(frames)[:7] == ids_of(*made)


async def test_what_commits_late_is_neither_missed_nor_overtaken(world: FeedApi) -> None:
    async with world.stream() as reader, world.stream() as other:
        async with world.resources.database.transaction() as tx:
            late = await add_subject(tx, world.resources, world.account)
            early = await world.add_subjects(3)
            page = (await world.get("/v1/events", wait="1")).json()
            assert page["data"] == [], "nothing from beside the open transaction"
        for stream in (reader, other):
            assert subject_ids(await stream.frames(4)) == ids_of(late, *early)


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
async def test_each_event_comes_once_in_whatever_order_its_writers_commit(
    world: FeedApi, order: tuple[int, ...]
) -> None:
    made: list[Subject] = []
    stacks = [AsyncExitStack() for _ in order]
    async with world.stream() as reader:
        for stack in stacks:
            tx = await stack.enter_async_context(world.resources.database.transaction())
            made.append(await add_subject(tx, world.resources, world.account))
        for place in order:
            await stacks[place].aclose()
            async with world.stream("/v1/events?after=0-0") as joining:
                (last,) = await world.add_subjects()
                made.append(last)
        frames = await reader.frames(len(made))
    async with world.stream("/v1/events?after=0-0") as joining:
        again = await joining.frames(len(made))
    assert sorted(subject_ids(frames)) == sorted(ids_of(*made))
    assert again == frames
    assert subject_ids(frames)[:5] == ids_of(*made[:5])


async def test_a_reader_who_comes_again_after_a_restart_misses_nothing(world: FeedApi) -> None:
    async with world.stream() as reader:
        made = await world.add_subjects()
        frames = [await reader.frame()]
        world.web.app.state.hub.close()
        frames += await reader.rest()
    made += await world.add_subjects(2)
    async with web_server(world.resources) as restarted:
        world.web = restarted
        async with world.stream(last_event_id=reader.last_id) as again:
            made += await world.add_subjects(2)
            frames += await again.frames(4)
    assert subject_ids(frames) == ids_of(*made)


async def test_another_accounts_events_never_come(world: FeedApi) -> None:
    await api_keys.create(world.resources, "other", DEFAULT_SCOPES)
    (other,) = await fetch(world.resources, "SELECT id FROM accounts WHERE name = 'other'")
    theirs = await add_committed_subject(world.resources, other["id"])
    async with world.stream() as now, world.stream("/v1/events?after=0-0") as all_of_it:
        await add_committed_subject(world.resources, other["id"])
        (mine,) = await world.add_subjects()
        assert subject_ids([await now.frame(), await all_of_it.frame()]) == ids_of(mine, mine)
    async with world.stream(f"/v1/subjects/{theirs.id}/events") as refused:
        assert refused.status == 404


async def test_events_about_subscribers_are_in_the_accounts_stream(world: FeedApi) -> None:
    async with world.stream() as reader:
        await add_large_events(world.resources, world.account, 2, 10)
        frames = await reader.frames(2)
    assert [frame.type for frame in frames] == ["callsheet.subscriber.failing"] * 2


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1-1", "9" * 40])
async def test_an_id_that_is_not_one_of_ours_is_refused(world: FeedApi, cursor: str) -> None:
    async with world.stream(last_event_id=cursor) as refused:
        assert refused.status == 400
    (made,) = await world.add_subjects()
    async with world.stream(f"/v1/subjects/{made.id}/events", last_event_id="1-1") as refused:
        assert refused.status == 400


async def test_a_head_has_no_stream_behind_it(world: FeedApi) -> None:
    headers = {"authorization": f"Bearer {world.key}", "accept": "text/event-stream"}
    url = f"http://127.0.0.1:{world.web.port}/v1/events"
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        for _ in range(2):
            answer = await http.head(url, headers=headers)
            assert answer.headers["content-type"] == "text/event-stream"
