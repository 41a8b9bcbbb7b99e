"""Lists: narrowed as asked, in pages that join without a seam while rows are added."""

import asyncio
import base64
from datetime import timedelta
from typing import Any

import pytest

from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock


async def page(api: Api, path: str = "/v1/subjects", **params: str) -> dict[str, Any]:
    answer = await api.http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"data", "next_cursor"}
    return body


async def ids(api: Api, **params: str) -> list[str]:
    return [subject["id"] for subject in (await page(api, **params))["data"]]


async def test_the_newest_come_first(api: Api, clock: Clock) -> None:
    made = []
    for _ in range(3):
        made.append((await api.create())["id"])
        clock.advance(1)
    assert await ids(api) == made[::-1]
    first = await api.read(made[0])
    assert (await page(api))["data"][-1] | {"queue": first["queue"]} == first


@pytest.mark.parametrize("apart", [0, 1])
@pytest.mark.parametrize("path", ["/v1/subjects", "/v1/subscribers"])
async def test_a_cursor_neither_skips_nor_repeats_while_rows_are_added(
    api: Api, clock: Clock, apart: int, path: str
) -> None:
    async def add() -> str:
        clock.advance(apart)
        made = await (api.subscribe("http://127.0.0.1:65009") if "subscr" in path else api.create())
        return str(made["id"])

    before = {await add() for _ in range(7)}
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        read = await page(api, path, limit="2", **cursor)
        ids += [subject["id"] for subject in read["data"]]
        if read["next_cursor"] is None:
            break
        cursor = {"cursor": read["next_cursor"]}
        await add()
    assert len(ids) == len(set(ids)), "none is repeated"
    assert before <= set(ids), "none is skipped"


async def walk(api: Api, **params: str) -> list[str]:
    """The ids of all pages, in their order."""
    ids: list[str] = []
    while True:
        read = await page(api, limit="3", **params)
        ids += [subject["id"] for subject in read["data"]]
        if read["next_cursor"] is None:
            return ids
        params["cursor"] = read["next_cursor"]


async def test_a_walk_among_writers_finds_each_that_was_there_once(api: Api, clock: Clock) -> None:
    """Some are of one moment; meanwhile others are added, of that moment as well, and all move."""
    before = []
    for number in range(30):
        before.append((await api.create())["id"])
        clock.advance(number % 5 == 0)
    unmoved = set(before)
    over = asyncio.Event()

    async def add() -> None:
        while not over.is_set():
            await api.create()

    async def move() -> None:
        for subject_id in before:
            await api.http.post(f"/v1/subjects/{subject_id}/cancel")
            unmoved.discard(subject_id)

    adding = [asyncio.create_task(add()) for _ in range(2)]
    moving = asyncio.create_task(move())
    bounds = {"created_before": (clock() + timedelta(seconds=1)).isoformat()}
    walks = await asyncio.gather(walk(api), walk(api, **bounds), walk(api, state="queued"))
    left = set(unmoved)
    over.set()
    await asyncio.gather(moving, *adding)
    for ids in walks:
        assert len(ids) == len(set(ids)), "none is repeated"
    assert all(set(before) <= set(ids) for ids in walks[:2]), "none is skipped"
    assert left <= set(walks[2]), "nor one that stays as it was asked for"
    assert set(await walk(api, state="canceled")) == set(before)


async def test_subjects_are_narrowed_by_each_filter_and_by_all(api: Api, clock: Clock) -> None:
    old = await api.create(external_task_id="a", tag_list=[{"tag_id": "o_101"}])
    clock.advance(10)
    new = await api.create(
        external_task_id="b", tag_list=[{"tag_id": "o_101"}, {"tag_id": "o_108"}]
    )
    await transition(api.resources, new["id"], StatusUpdate(Signal.SUBMITTED, provider_task_id="1"))
    both = [new["id"], old["id"]]
    assert await ids(api, state="queued") == [old["id"]]
    assert await ids(api, state="submitted") == [new["id"]]
    assert await ids(api, external_task_id="a") == [old["id"]]
    assert await ids(api, tag="o_101") == both
    assert await ids(api, tag="o_108") == [new["id"]]
    assert await ids(api, created_after=old["created_at"]) == [new["id"]], "bounds exclude"
    assert await ids(api, created_after=new["created_at"]) == []
    assert await ids(api, created_before=new["created_at"]) == [old["id"]]
    assert await ids(api, created_before=clock().isoformat()) == [old["id"]], "bounds exclude"
    assert await ids(api, created_after="2000-01-01T00:00:00+14:00", tag="o_108") == [new["id"]]
    assert await ids(api, state="queued", tag="o_108") == []


async def test_a_page_has_fifty_unless_asked_otherwise_and_two_hundred_at_most(api: Api) -> None:
    for _ in range(51):
        await api.create()
    read = await page(api)
    assert (len(read["data"]), read["next_cursor"] is None) == (50, False)
    assert len((await page(api, limit="200"))["data"]) == 51
    assert len((await page(api, limit="51"))["data"]) == 51


WRONG = [
    ("/v1/subjects", "limit=0&state=lost&colour=red", {"/limit", "/state", "/colour"}),
    ("/v1/subjects", "limit=201", {"/limit"}),
    ("/v1/subjects", "limit=-1", {"/limit"}),
    ("/v1/subjects", "limit=1e1", {"/limit"}),
    ("/v1/subjects", "limit=%C2%B2", {"/limit"}),
    ("/v1/subjects", "limit=99999999999999999999", {"/limit"}),
    ("/v1/subjects", "created_after=yesterday", {"/created_after"}),
    ("/v1/subjects", "created_after=2026-01-01T00:00:00", {"/created_after"}),
    ("/v1/subjects", "created_before=0001-01-01T00:00:00%2B14:00", {"/created_before"}),
    ("/v1/subjects", "tag=o_109", {"/tag"}),
    ("/v1/subjects", "tag=&state=", {"/tag", "/state"}),
    ("/v1/subjects", "tag=person&state=QUEUED", {"/tag", "/state"}),
    ("/v1/subjects", "tag=%00&external_task_id=%00", {"/tag", "/external_task_id"}),
    ("/v1/events", "limit=x&below=5", {"/limit", "/below"}),
    ("/v1/subscribers", "state=active", {"/state"}),
    ("/v1/subscribers", "cursor=%00", {"/cursor"}),
]


async def test_every_parameter_that_is_wrong_or_unknown_is_named(api: Api) -> None:
    for path, query, pointers in WRONG:
        answer = await api.http.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), query
        assert {error["pointer"] for error in answer.json()["errors"]} == pointers


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


CURSORS = (
    "x",
    "ä",
    "",
    encoded("x"),
    encoded("2026-01-01T00:00:00 sub_1"),
    encoded("0001-01-01T00:00:00+14:00 sub_1"),
    encoded("2026-01-01T00:00:00+00:00 sub_\0"),
    encoded("2026-01-01T00:00:00+00:00 sub_" + "1" * 500)[:99],
    "A" * 9000,
)
GOOD = encoded("2026-01-01T00:00:00+00:00 sub_1")
FORGED = (
    f"{GOOD}=",
    f"{GOOD}!",
    f" {GOOD}",
    GOOD.swapcase(),
    encoded("2026-01-01T00:00:00Z sub_1"),
    encoded("2026-01-01T02:00:00+02:00 sub_1"),
    encoded("2026-01-01T00:00:00.100+00:00 sub_1"),
    encoded("2026-01-01T00:00:00+00:00 dlv_1"),
    encoded("2026-01-01T00:00:00+00:00"),
)


async def test_a_cursor_that_is_not_one_of_ours_is_malformed_or_points_nowhere(api: Api) -> None:
    for cursor in CURSORS:
        answer = await api.http.get("/v1/subjects", params={"cursor": cursor})
        if answer.status_code == 200:
            assert answer.json() == {"data": [], "next_cursor": None}
        else:
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), cursor


async def test_a_cursor_that_is_written_otherwise_than_ours_is_malformed(api: Api) -> None:
    assert await ids(api, cursor=GOOD) == []
    for cursor in FORGED:
        answer = await api.http.get("/v1/subjects", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), cursor


async def test_a_cursor_of_another_list_is_malformed(api: Api) -> None:
    subscriber = await api.subscribe("http://127.0.0.1:65009")
    for _ in range(2):
        await api.create()
    deliveries = await page(api, f"/v1/subscribers/{subscriber['id']}/deliveries", limit="1")
    answer = await api.http.get("/v1/subjects", params={"cursor": deliveries["next_cursor"]})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    feed = await page(api, "/v1/events")
    answer = await api.http.get("/v1/subjects", params={"cursor": feed["next_cursor"]})
    assert answer.status_code == 400
