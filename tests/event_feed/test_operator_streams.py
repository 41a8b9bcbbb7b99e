"""An operator follows every account at once, or one that is not its own."""

import asyncio
from functools import partial

from service.resources import Resources
from tests.support.event_streams import (
    FeedApi,
    another_account,
    feed_api,
    of_operator,
    subject_ids,
)
from tests.support.subjects import add_committed_subject
from tests.support.waiting import wait_until


async def test_a_page_of_every_accounts_feed_is_held_open_until_one_has_something(
    resources: Resources, account: str
) -> None:
    async with feed_api(resources, account) as world:
        operator = await of_operator(world)
        asking = asyncio.create_task(operator.get("/v1/events", wait="30"))
        await wait_until(partial(followed, world, 1))
        made = await add_committed_subject(resources, account)
        (event,) = (await asking).json()["data"]
        assert (event["account"], event["data"]["id"]) == ("acme", made.id)


async def test_a_stream_of_every_account_tells_each_event_with_its_account(
    resources: Resources, account: str
) -> None:
    async with feed_api(resources, account) as world:
        operator = await of_operator(world)
        other = await another_account(resources)
        async with (
            operator.stream() as full_stream,
            operator.stream("/v1/events?account=acme") as narrowed_stream,
        ):
            made = [await add_committed_subject(resources, of) for of in (account, other, account)]
            frames = await full_stream.frames(3)
            assert subject_ids(frames) == [subject.id for subject in made]
            assert [frame.data["account"] for frame in frames] == ["acme", "other", "acme"]
            narrowed = await narrowed_stream.frames(2)
            assert narrowed == [frames[0], frames[2]]
        later = await add_committed_subject(resources, other)
        async with operator.stream(last_event_id=frames[1].id) as resumed:
            assert subject_ids(await resumed.frames(2)) == [made[2].id, later.id]


async def test_who_follows_the_same_feed_without_being_an_operator_is_told_no_account(
    resources: Resources, account: str
) -> None:
    async with feed_api(resources, account) as world:
        operator = await of_operator(world)
        async with operator.stream("/v1/events?account=acme") as theirs, world.stream() as mine:
            await wait_until(partial(followed, world, 2))
            await add_committed_subject(resources, account)
            named, plain = await theirs.frame(), await mine.frame()
            assert named.data.pop("account") == "acme"
            assert named == plain


async def test_a_subjects_stream_names_its_account_to_an_operator(
    resources: Resources, account: str
) -> None:
    async with feed_api(resources, account) as world:
        made = await add_committed_subject(resources, account)
        operator = await of_operator(world)
        async with operator.stream(f"/v1/subjects/{made.id}/events") as stream:
            frame = await stream.frame()
            assert (frame.id, frame.data["account"]) == ("1", "acme")


async def followed(world: FeedApi, count: int) -> bool:
    return world.reader_count() == count and await world.is_listening()
