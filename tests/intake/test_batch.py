"""Many requests in one: each answered by itself, all that are accepted are so together."""

import asyncio
from collections import Counter
from typing import Any

import httpx
from structlog.typing import EventDict

from tests.support.api import Api
from tests.support.database import fetch
from tests.support.request_bodies import request_body

PATH = "/v1/subjects/batch"


async def post(api: Api, bodies: object, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return await api.http.post(PATH, json={"subjects": bodies}, headers=headers)


async def posted(api: Api, bodies: object, key: str | None = None) -> list[dict[str, Any]]:
    answer = await post(api, bodies, key)
    assert answer.status_code == 207, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def count(api: Api, table: str) -> int:
    rows = await fetch(api.resources, f"SELECT count(*) FROM {table}")  # noqa: S608 - our own name
    return int(rows[0]["count"])


def statuses(data: list[dict[str, Any]]) -> list[int]:
    return [answer["status"] for answer in data]


async def test_each_is_answered_by_itself_in_the_order_given(api: Api) -> None:
    await api.create(external_task_id="taken")
    data = await posted(
        api,
        [
            request_body("One"),
            request_body(element_name="", colour="red"),
            request_body("Two", external_task_id="taken"),
            request_body(external_task_id="taken"),
            request_body("Three", external_task_id="new"),
            "what is this",
        ],
    )
    assert statuses(data) == [202, 422, 409, 200, 202, 422]
    assert (await api.read(data[0]["subject"]["id"]))["element_name"] == "One"
    pointers = {error["pointer"] for error in data[1]["problem"]["errors"]}
    assert pointers == {"/element_name", "/colour"}
    assert data[2]["problem"]["code"] == "external_task_id_taken"
    assert data[3]["subject"]["external_task_id"] == "taken"
    assert await count(api, "subjects") == 3
    assert await count(api, "events") == 3
    assert not await api.violations()


async def test_equal_requests_in_a_batch_make_one_subject(api: Api) -> None:
    body = request_body(external_task_id="mine")
    data = await posted(api, [body, body, request_body("Eve", external_task_id="mine"), body])
    assert statuses(data) == [202, 200, 409, 200]
    assert len({answer["subject"]["id"] for answer in data if "subject" in answer}) == 1
    assert await count(api, "subjects") == 1


async def test_a_batch_sent_again_makes_nothing_new(api: Api) -> None:
    bodies = [request_body(f"Ada {n}") for n in range(5)]
    first = await posted(api, bodies, "key")
    again = await posted(api, bodies, "key")
    assert statuses(first) == [202] * 5
    assert statuses(again) == [200] * 5
    assert [answer["subject"] for answer in again] == [answer["subject"] for answer in first]
    changed = await posted(api, [*bodies[:4], request_body("Eve")], "key")
    assert statuses(changed) == [200] * 4 + [409]
    assert await count(api, "subjects") == 5


async def test_batches_that_share_external_ids_wait_for_each_other_and_never_deadlock(
    api: Api,
) -> None:
    bodies = [request_body(external_task_id=f"mine-{n}") for n in range(20)]
    orders = [bodies if n % 2 else list(reversed(bodies)) for n in range(10)]
    answers = await asyncio.gather(*(posted(api, order) for order in orders))
    assert Counter(status for data in answers for status in statuses(data)) == {202: 20, 200: 180}
    assert await count(api, "subjects") == 20


async def test_batches_that_call_back_to_the_same_hosts_never_deadlock(api: Api) -> None:
    """In whichever order, and however a host is spelt: one subscriber stands for an origin."""
    plain = [f"https://h{n}.example/p" for n in range(8)]
    odd = [f"https://H{n}.example:443/q" for n in range(8)]
    urls = [plain[:4] + odd[4:], odd[:4] + plain[4:], plain[::-1], odd]
    orders = [[request_body(callback_url=url) for url in order] for order in urls * 3]
    answers = await asyncio.gather(*(posted(api, order) for order in orders))
    assert {status for data in answers for status in statuses(data)} == {202}
    found = "SELECT url FROM subscribers WHERE type = 'callback' ORDER BY url"
    origins = [row["url"] for row in await fetch(api.resources, found)]
    assert origins == [f"callback://h{n}.example:443" for n in range(8)]


async def test_a_batch_has_at_most_a_hundred_requests(api: Api) -> None:
    body = request_body()
    data = await posted(api, [body] * 100)
    assert statuses(data) == [202] * 100
    wrong: list[object] = [[body] * 101, [], None, {}, "x"]
    for bodies in wrong:
        answer = await post(api, bodies)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["code"] == "batch"
    for whole in ([body], {"subjects": [body], "more": 1}, 7):
        assert (await api.http.post(PATH, json=whole)).status_code == 422
    assert await count(api, "subjects") == 100


async def test_all_of_a_batch_is_written_or_nothing(api: Api, logged: list[EventDict]) -> None:
    """A rule of the database stands in for whatever breaks off the transaction."""
    await fetch(
        api.resources,
        "ALTER TABLE events ADD CONSTRAINT none_of_these"
        " CHECK (position('Eve' in convert_from(body, 'UTF8')) = 0)",
    )
    answer = await post(api, [request_body("Ada"), request_body("Eve"), request_body("Bob")])
    assert answer.status_code == 500
    assert [line["action"] for line in logged].count("fault") == 1
    logged.clear()
    for table in ("subjects", "events", "media", "subject_media"):
        assert await count(api, table) == 0
