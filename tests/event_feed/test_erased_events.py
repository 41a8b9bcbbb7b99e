"""An event that was erased is in no feed, and cursors of it are as good as before."""

from service.event_feed.domain.places import START
from service.event_feed.store import feed
from service.resources import Resources
from tests.support.database import fetch
from tests.support.event_streams import feed_api, subject_ids
from tests.support.subjects import add_committed_subject, ids_of


async def erase(resources: Resources, *subject_ids: str) -> None:
    """Erase the bodies of these subjects' events."""
    statement = "UPDATE events SET body = NULL WHERE subject_id = ANY ($1)"
    await fetch(resources, statement, subject_ids)


async def test_pages_leave_out_what_was_erased(resources: Resources, account: str) -> None:
    async with feed_api(resources, account) as world:
        made = await world.add_subjects(5)
        first = (await world.get("/v1/events", limit="2")).json()
        await erase(resources, made[0].id, made[1].id, made[3].id)
        rest = (await world.get("/v1/events", after=first["next_cursor"], limit="2")).json()
        assert [event["data"]["id"] for event in rest["data"]] == ids_of(made[2], made[4])
        of_erased = await world.get(f"/v1/subjects/{made[0].id}/events")
        assert of_erased.json() == {"data": [], "next_cursor": "0"}


async def test_streams_leave_out_what_was_erased(resources: Resources, account: str) -> None:
    async with feed_api(resources, account) as world:
        made = await world.add_subjects(3)
        await erase(resources, made[1].id)
        async with world.stream("/v1/events?after=0-0") as reader:
            assert subject_ids(await reader.frames(2)) == ids_of(made[0], made[2])


async def test_what_was_erased_is_not_taken_for_what_may_not_be_shown_yet(
    resources: Resources, account: str
) -> None:
    """Or the hub would read it again and again."""
    made = await add_committed_subject(resources, account)
    await erase(resources, made.id)
    async with resources.database.autocommit() as tx:
        assert await feed.updates(tx, [(account, START)], 9) == {}
        assert await feed.updates_of_all(tx, START, 9) == feed.FeedUpdate()
