"""A restored database begins a new epoch: cursors of another are answered with where to begin."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from service.event_feed.steps import event_hub
from service.event_feed.store import epochs
from service.resources import Resources
from tests.support.database import fetch
from tests.support.event_streams import FeedApi, feed_api, oldest_of, subject_ids
from tests.support.subjects import ids_of
from tests.support.waiting import wait_until


@pytest.fixture
async def world(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    async with feed_api(resources, account) as opened:
        yield opened


async def begin_epoch(resources: Resources) -> int:
    async with resources.database.transaction() as tx:
        return await epochs.begin_epoch(tx)


async def test_a_cursor_from_before_goes_on_from_what_both_epochs_have(world: FeedApi) -> None:
    made = await world.add_subjects(3)
    early = (await world.get("/v1/events", limit="1")).json()["next_cursor"]
    beyond = "999999999-999999999"  # what it saw was lost
    epoch = await begin_epoch(world.resources)
    later = await world.add_subjects(2)
    for cursor, expected in ((early, ids_of(*made[1:], *later)), (beyond, ids_of(*later))):
        oldest = oldest_of(await world.get("/v1/events", after=cursor))
        assert oldest.startswith(f"e{epoch}.")
        body = (await world.get("/v1/events", after=oldest)).json()
        assert [event["data"]["id"] for event in body["data"]] == expected
        assert body["next_cursor"].startswith(f"e{epoch}.")
        async with world.stream(last_event_id=cursor) as refused:
            assert refused.status == 410
        async with world.stream(last_event_id=oldest) as resumed:
            frames = await resumed.frames(len(expected))
            assert subject_ids(frames) == expected
            assert frames[-1].id == body["next_cursor"]


async def test_a_cursor_of_an_epoch_that_this_database_did_not_have_goes_back_to_the_start(
    world: FeedApi,
) -> None:
    """As after a second restore from the same backup."""
    (made,) = await world.add_subjects()
    lost = (await begin_epoch(world.resources)) - 1
    oldest = oldest_of(await world.get("/v1/events", after=f"e{lost}.999999999-1"))
    body = (await world.get("/v1/events", after=oldest)).json()
    assert [event["data"]["id"] for event in body["data"]] == ids_of(made)


async def test_an_epoch_begins_where_the_database_was_held_and_not_where_it_goes_on(
    world: FeedApi,
) -> None:
    """What came meanwhile stands before cursors of what was lost."""
    await world.add_subjects()
    await fetch(world.resources, "UPDATE events SET created_at = now() - interval '1 hour'")
    await fetch(
        world.resources, "UPDATE installation SET held_reason = 'restored', held_since = now()"
    )
    held = await world.add_subjects(2)
    await fetch(
        world.resources,
        "UPDATE events SET created_at = now() WHERE subject_id = ANY ($1)",
        ids_of(*held),
    )
    await begin_epoch(world.resources)
    oldest = oldest_of(await world.get("/v1/events", after="999999999-999999999"))
    body = (await world.get("/v1/events", after=oldest)).json()
    assert [event["data"]["id"] for event in body["data"]] == ids_of(*held)


async def test_the_start_is_the_start_in_every_epoch(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    epoch = await begin_epoch(world.resources)
    for cursor in ("0-0", f"e{epoch}.0-0", f"e{epoch - 1}.0-0"):
        assert len((await world.get("/v1/events", after=cursor)).json()["data"]) == 1
    path = f"/v1/subjects/{made.id}/events"
    for cursor in ("0", f"e{epoch}.0"):
        body = (await world.get(path, after=cursor)).json()
        assert (len(body["data"]), body["next_cursor"]) == (1, f"e{epoch}.1")


async def test_a_subjects_feed_begins_anew(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    path = f"/v1/subjects/{made.id}/events"
    cursor = (await world.get(path)).json()["next_cursor"]
    epoch = await begin_epoch(world.resources)
    assert oldest_of(await world.get(path, after=cursor)) == f"e{epoch}.0"
    async with world.stream(path, last_event_id=cursor) as refused:
        assert refused.status == 410
    async with world.stream(path, last_event_id=f"e{epoch}.0") as resumed:
        assert (await resumed.frame()).id == f"e{epoch}.1"


async def test_open_streams_and_long_polls_end_with_their_epoch(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "READ_INTERVAL", 0.02)
    (made,) = await world.add_subjects()
    path = f"/v1/subjects/{made.id}/events"
    async with world.stream() as of_account, world.stream(path) as of_subject:
        (later,) = await world.add_subjects()
        assert (await of_account.frame()).data["data"]["id"] == later.id
        await of_subject.frame()
        polled = asyncio.create_task(world.get(path, after="1", wait="50"))
        await wait_until(partial(joined, world, 3))
        await begin_epoch(world.resources)
        assert await of_account.rest() == []
        assert await of_subject.rest() == []
        oldest = oldest_of(await world.get(path, after=(await polled).json()["next_cursor"]))
    (newest,) = await world.add_subjects()
    async with world.stream(last_event_id=of_account.last_id) as refused:
        assert refused.status == 410
    oldest = oldest_of(await world.get("/v1/events", after=of_account.last_id))
    async with world.stream(last_event_id=oldest) as resumed:
        assert subject_ids(await resumed.frames(1)) == ids_of(newest)


async def joined(world: FeedApi, count: int) -> bool:
    return world.reader_count() == count


async def test_each_epoch_has_a_number_of_its_own(resources: Resources) -> None:
    numbers = [await begin_epoch(resources) for _ in range(3)]
    assert numbers == sorted(set(numbers))
    (row,) = await fetch(resources, "SELECT feed_epoch, epoch_before FROM installation")
    assert [row["epoch_before"], row["feed_epoch"]] == numbers[1:]
