"""A reader below what is kept is told so, once: on pages, long polls and streams alike."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from random import Random
from typing import Any

import pytest

from service.event_feed.domain.places import START, Place, Position
from service.event_feed.steps import event_hub, feed_reader
from service.event_feed.web import cursors
from service.event_feed.web.sse import Feed, SSEStream
from service.resources import Resources
from tests.support.database import fetch
from tests.support.event_streams import (
    TIMEOUT,
    FeedApi,
    another_account,
    feed_api,
    of_operator,
    oldest_of,
    subject_ids,
)
from tests.support.pruning import prune_subjects
from tests.support.subjects import add_committed_subject, ids_of

# Where each event was, though it is pruned.
NOTE_WRITTEN = """
    CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO written VALUES (NEW.subject_id, NEW.xid, NEW.position); RETURN NULL;
    END $$
"""
NOTE_EACH = """
    CREATE TRIGGER note_each AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note_written()
"""
WRITTEN = "SELECT subject_id, CAST(CAST(xid AS text) AS bigint) AS xid, position FROM written"


@pytest.fixture
async def world(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    async with feed_api(resources, account) as opened:
        yield opened


async def page(world: FeedApi, path: str = "/v1/events", **params: str) -> dict[str, Any]:
    answer = await world.get(path, **params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def shown_in(body: dict[str, Any]) -> list[str]:
    return [event["data"]["id"] for event in body["data"]]


async def test_a_cursor_before_what_is_kept_is_answered_410_with_where_to_go_on(
    world: FeedApi,
) -> None:
    made = await world.add_subjects(5)
    cursor = (await page(world, limit="1"))["next_cursor"]
    await prune_subjects(world.resources, made[1].id, made[3].id)
    oldest = oldest_of(await world.get("/v1/events", after=cursor, limit="1"))
    assert oldest_of(await world.get("/v1/events", after=cursor, wait="30")) == oldest
    first = await page(world, after=oldest, limit="1")
    rest = await page(world, after=first["next_cursor"])
    assert [*shown_in(first), *shown_in(rest)] == ids_of(made[2], made[4]), "and nothing twice"
    assert (await page(world, after=rest["next_cursor"]))["data"] == []


async def test_a_cursor_that_has_passed_all_that_was_pruned_is_as_good_as_before(
    world: FeedApi,
) -> None:
    made = await world.add_subjects(3)
    cursor = (await page(world, limit="2"))["next_cursor"]
    await prune_subjects(world.resources, made[0].id, made[1].id)
    assert shown_in(await page(world, after=cursor)) == ids_of(made[2])


async def test_without_a_cursor_a_feed_begins_at_the_oldest_event_that_is_kept(
    world: FeedApi,
) -> None:
    made = await world.add_subjects(4)
    await prune_subjects(world.resources, made[0].id, made[2].id)
    for start in ({}, {"after": "0-0"}):
        first = await page(world, limit="1", **start)
        rest = await page(world, after=first["next_cursor"])
        assert [*shown_in(first), *shown_in(rest)] == ids_of(made[1], made[3])


async def test_what_is_pruned_while_it_is_read_is_told_again_and_no_place_is_lost(
    world: FeedApi,
) -> None:
    made = await world.add_subjects(6)
    await prune_subjects(world.resources, made[0].id, made[3].id)
    first = await page(world, limit="1")
    await prune_subjects(world.resources, made[4].id)
    oldest = oldest_of(await world.get("/v1/events", after=first["next_cursor"]))
    assert shown_in(await page(world, after=oldest)) == ids_of(made[2], made[5])


async def test_a_page_of_nothing_is_past_all_that_was_pruned(world: FeedApi) -> None:
    made = await world.add_subjects(2)
    await prune_subjects(world.resources, *ids_of(*made))
    cursor = (await page(world))["next_cursor"]
    assert cursor != "0-0"
    made = await world.add_subjects(2)
    assert shown_in(await page(world, after=cursor)) == ids_of(*made)


async def test_a_long_poll_from_below_the_horizon_ends_with_a_cursor_above_it(
    world: FeedApi,
) -> None:
    made = await world.add_subjects(2)
    cursor = (await page(world, limit="1"))["next_cursor"]
    await prune_subjects(world.resources, made[1].id)
    oldest = oldest_of(await world.get("/v1/events", after=cursor))
    polled = asyncio.create_task(page(world, after=oldest, wait="30"))
    (later,) = await world.add_subjects()
    assert shown_in(await polled) == ids_of(later)
    assert "." not in (await polled)["next_cursor"]


async def test_a_stream_is_not_resumed_over_a_gap_unless_its_reader_knows(world: FeedApi) -> None:
    made = await world.add_subjects(4)
    async with world.stream("/v1/events?after=0-0") as reader:
        frames = await reader.frames(4)
    await prune_subjects(world.resources, made[1].id, made[2].id)
    async with world.stream(last_event_id=frames[0].id) as refused:
        assert refused.status == 410
    oldest = oldest_of(await world.get("/v1/events", after=frames[0].id))
    async with world.stream(last_event_id=oldest) as resumed:
        assert await resumed.frames(1) == frames[3:]
    async with world.stream(f"/v1/events?after={oldest}") as resumed:
        assert await resumed.frames(1) == frames[3:]
    async with world.stream(last_event_id=frames[2].id) as above:
        assert await above.frames(1) == frames[3:]


async def test_a_stream_from_the_start_can_be_resumed_below_the_horizon(world: FeedApi) -> None:
    made = await world.add_subjects(4)
    await prune_subjects(world.resources, made[2].id)
    async with world.stream("/v1/events?after=0-0") as reader:
        first, *_ = await reader.frames(3)
    async with world.stream(last_event_id=first.id) as resumed:
        assert resumed.status == 200
        assert subject_ids(await resumed.frames(2)) == ids_of(made[1], made[3])


async def test_a_stream_ends_before_a_page_with_a_gap(
    world: FeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client takes one page after the other; meanwhile what it has not taken is pruned."""
    monkeypatch.setattr(feed_reader, "PAGE", 1)
    monkeypatch.setattr(event_hub, "PAGE", 1)
    made = await world.add_subjects(5)
    sent: list[bytes] = []
    ended = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if made[1].id.encode() in sent[-1]:
            await prune_subjects(world.resources, made[3].id)
        if not message.get("more_body", True):
            ended.set()

    async def receive() -> MutableMapping[str, Any]:
        await ended.wait()
        return {"type": "http.disconnect"}

    hub = world.web.app.state.hub
    stream = SSEStream(hub, Feed(world.account), Place(START), 0.5)
    await hub.join(stream)
    async with asyncio.timeout(TIMEOUT):
        await stream({"method": "GET"}, receive, send)
    text = b"".join(sent).decode()
    assert [subject.id in text for subject in made] == [True, True, False, False, False]
    last_id = [line for line in text.split("\n") if line.startswith("id: ")][-1].removeprefix(
        "id: "
    )
    oldest = oldest_of(await world.get("/v1/events", after=last_id))
    assert shown_in(await page(world, after=oldest)) == ids_of(made[2], made[4])


async def test_a_subjects_feed_is_gone_with_its_subject(world: FeedApi) -> None:
    (made,) = await world.add_subjects()
    path = f"/v1/subjects/{made.id}/events"
    cursor = (await page(world, path))["next_cursor"]
    await prune_subjects(world.resources, made.id)
    assert (await world.get(path, after=cursor)).status_code == 404
    async with world.stream(path, last_event_id=cursor) as refused:
        assert refused.status == 404


async def test_the_feed_of_every_account_has_the_horizon_of_all(world: FeedApi) -> None:
    operator = await of_operator(world)
    mine = await world.add_subjects(2)
    other = await another_account(world.resources)
    theirs = [await add_committed_subject(world.resources, other) for _ in range(2)]
    cursor = (await page(operator, limit="1"))["next_cursor"]
    await prune_subjects(world.resources, theirs[0].id)
    oldest = oldest_of(await operator.get("/v1/events", after=cursor))
    assert shown_in(await page(operator, after=oldest)) == ids_of(mine[1], theirs[1])
    async with operator.stream(last_event_id=cursor) as refused:
        assert refused.status == 410
    async with operator.stream(last_event_id=oldest) as resumed:
        assert subject_ids(await resumed.frames(2)) == ids_of(mine[1], theirs[1])
    assert shown_in(await page(world, after=cursor)) == ids_of(mine[1]), "of which none is gone"


class Feeder:
    """Writes events, prunes some at random, and knows the position of each."""

    def __init__(self, world: FeedApi, random: Random) -> None:
        self.world, self.random = world, random
        self.pruned: set[str] = set()

    async def run(self, rounds: int) -> None:
        for _ in range(rounds):
            made = await self.world.add_subjects(self.random.randint(1, 4))
            rows = await fetch(self.world.resources, "SELECT id FROM subjects")
            left = [row["id"] for row in rows]
            gone = self.random.sample(left, min(len(left), self.random.randint(0, 2)))
            if self.random.random() < 0.5:
                gone = [made[0].id]
            await prune_subjects(self.world.resources, *gone)
            self.pruned |= set(gone)


@pytest.mark.parametrize("seed", range(1))
async def test_whoever_reads_while_others_prune_sees_all_that_stays_or_is_told(
    world: FeedApi, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - a test's
    feeder = Feeder(world, random)
    places: dict[str, Position] = {}
    await fetch(
        world.resources, "CREATE TABLE written (subject_id text, xid xid8, position bigint)"
    )
    await fetch(world.resources, NOTE_WRITTEN)
    await fetch(world.resources, NOTE_EACH)
    first, second, *_ = await world.add_subjects(12)
    cursor = (await page(world, limit="1"))["next_cursor"]
    seen, told = [first.id], START
    await prune_subjects(world.resources, second.id)
    feeder.pruned.add(second.id)
    writing = asyncio.create_task(feeder.run(8))
    while True:
        finished = writing.done()
        answer = await world.get("/v1/events", after=cursor, limit="1")
        if answer.status_code == 200:
            body = answer.json()
            seen += shown_in(body)
            cursor = body["next_cursor"]
            if finished and not body["data"]:
                break
        else:
            cursor = oldest_of(answer)
            told = max(told, cursors.read(cursor, of_subject=False).acknowledged)
    await writing
    for row in await fetch(world.resources, WRITTEN):
        places[row["subject_id"]] = Position(row["xid"], row["position"])
    missed = places.keys() - set(seen)
    assert second.id in missed
    assert len(seen) == len(set(seen)), "nothing comes twice"
    assert missed <= feeder.pruned, "what was never pruned was seen"
    assert all(places[subject_id] <= told for subject_id in missed), "what is missed was told"
