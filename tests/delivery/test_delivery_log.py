"""/v1/subscribers/{id}/deliveries: what was sent, and what came of it, in pages without a seam."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.delivery.store import delivery_log
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.http_server import http_server
from tests.support.webhook_receiver import WebhookReceiver


async def page(api: Api, subscriber: dict[str, Any], **params: str) -> dict[str, Any]:
    answer = await api.http.get(f"/v1/subscribers/{subscriber['id']}/deliveries", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"data", "next_cursor"}
    return body


async def ids(api: Api, subscriber: dict[str, Any], **params: str) -> list[str]:
    return [delivery["id"] for delivery in (await page(api, subscriber, **params))["data"]]


async def through(api: Api, subscriber: dict[str, Any], **params: str) -> list[str]:
    """All pages, joined."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        given = params | ({"cursor": cursor} if cursor else {})
        listed_page = await page(api, subscriber, **given)
        found += [delivery["id"] for delivery in listed_page["data"]]
        cursor = listed_page["next_cursor"]
    return found


async def test_a_delivery_is_shown_with_every_attempt_and_what_was_answered(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url)
    assert await page(api, subscription) == {"data": [], "next_cursor": None}
    subject = await api.create()
    (waiting,) = (await page(api, subscription))["data"]
    assert (waiting["state"], waiting["attempts"]) == ("pending", [])
    assert waiting["next_attempt_at"] is not None
    subscriber.answers.append(500)
    await api.work(Work.DELIVER)
    clock.advance(60)
    await api.work(Work.DELIVER)
    (delivery,) = (await page(api, subscription))["data"]
    first, second = delivery["attempts"]
    assert set(first) == {"id", "at", "status", "latency_ms", "error"}
    assert (first["id"], second["id"]) == (f"{delivery['id']}.1", f"{delivery['id']}.2")
    assert (first["status"], first["error"]) == (500, "status 500")
    assert (second["status"], second["error"]) == (200, None)
    sent = [headers["callsheet-attempt"] for headers, _ in subscriber.requests]
    assert sent == [first["id"], second["id"]]
    ended = {"state": "delivered", "next_attempt_at": None, "attempts": [first, second]}
    assert delivery == waiting | ended
    alone = await api.http.get(f"/v1/deliveries/{delivery['id']}")
    assert alone.status_code == 200
    read = alone.json()
    assert [attempt.pop("answer") for attempt in read["attempts"]] == ["", ""]
    assert read == delivery
    of_subject = await api.http.get(f"/v1/subjects/{subject['id']}/deliveries")
    assert of_subject.json() == {"data": [delivery], "next_cursor": None}
    of_subject = await api.http.get(f"/v1/subjects/{subject['id']}/deliveries?limit=1")
    assert of_subject.status_code == 422, "it is never cut"


async def test_no_next_attempt_is_shown_while_one_is_under_way(api: Api) -> None:
    """What is due then is the end of its lease."""
    subscription = await api.subscribe("http://127.0.0.1:9999")
    subject = await api.create()
    (waiting,) = (await page(api, subscription))["data"]
    await fetch(api.resources, "UPDATE deliveries SET lease_token = 'a-worker'")
    lists = [f"subscribers/{subscription['id']}/deliveries", f"subjects/{subject['id']}/deliveries"]
    lists += [f"{lists[0]}?event_id={waiting['event_id']}", f"{lists[0]}?state=pending"]
    for path in lists:
        (shown,) = (await api.http.get(f"/v1/{path}")).json()["data"]
        assert shown == waiting | {"next_attempt_at": None}, path
    alone = (await api.http.get(f"/v1/deliveries/{waiting['id']}")).json()
    assert alone.pop("why")
    assert alone == waiting | {"next_attempt_at": None}


async def test_an_answer_is_shown_so_that_it_can_do_no_harm(api: Api) -> None:
    hostile = b'<b>\x1b[2J\xff\xe2\x80\xaecod.\x00\n{"a":"\xc3\xa9"}'

    async def take(_: Request) -> Response:
        return Response(hostile + b"x" * 30_000, 200)

    async with http_server(Starlette(routes=[Route("/", take, methods=["POST"])])) as address:
        subscription = await api.subscribe(f"{address}/")
        await api.create()
        await api.work(Work.DELIVER)
    (delivery,) = (await page(api, subscription))["data"]
    read = (await api.http.get(f"/v1/deliveries/{delivery['id']}")).json()
    (attempt,) = read["attempts"]
    shown = '<b>\\x1b[2J\N{REPLACEMENT CHARACTER}\\u202ecod.\\x00\\n{"a":"é"}'
    assert attempt["answer"] == shown + "x" * (20_000 - len(hostile))


async def test_pages_neither_skip_nor_repeat_while_deliveries_are_added(
    api: Api, clock: Clock
) -> None:
    subscription = await api.subscribe("http://127.0.0.1:9999")
    for number in range(7):
        await api.create()
        clock.advance(number % 2)  # some at the same time
    expected = await ids(api, subscription)
    assert len(expected) == 7
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        listed_page = await page(api, subscription, limit="2", **cursor)
        found += [delivery["id"] for delivery in listed_page["data"]]
        clock.advance(1)
        await api.create()
        if listed_page["next_cursor"] is None:
            break
        cursor = {"cursor": listed_page["next_cursor"]}
    assert found == expected


async def test_a_list_is_narrowed_to_a_state_and_to_an_event(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscription = await api.subscribe(subscriber.url, schedule=[1])
    other = await api.subscribe("http://127.0.0.1:9999")
    for _ in range(3):
        await api.create()
        clock.advance(1)
    subscriber.answers += [500, 500, 200, 500]
    for _ in range(3):
        await api.work(Work.DELIVER)
        clock.advance(2)
    every = (await page(api, subscription))["data"]
    for state in ("pending", "delivered", "dead", "canceled"):
        wanted = [delivery["id"] for delivery in every if delivery["state"] == state]
        assert await ids(api, subscription, state=state) == wanted, state
        assert await through(api, subscription, state=state, limit="1") == wanted, state
    event_id = every[1]["event_id"]
    assert await ids(api, subscription, event_id=event_id) == [every[1]["id"]]
    assert await ids(api, subscription, event_id=event_id, state=every[1]["state"]) == [
        every[1]["id"]
    ]
    assert await ids(api, subscription, event_id=event_id, state="canceled") == []
    assert await ids(api, subscription, event_id="evt_none") == []
    (found,) = (await page(api, other, event_id=event_id))["data"]
    assert found["subscriber_id"] == other["id"]


async def test_a_state_that_is_rare_is_found_over_several_pages(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_log, "MAX_ROWS_SCANNED", 3)
    subscription = await api.subscribe("http://127.0.0.1:9999")
    for _ in range(8):
        await api.create()
        clock.advance(1)
    every = await ids(api, subscription)
    for place in (0, 2, 5, 7):
        await fetch(
            api.resources,
            "UPDATE deliveries SET state = 'dead', due_at = NULL, finished_at = now()"
            " WHERE id = $1",
            every[place],
        )
    dead = [every[place] for place in (0, 2, 5, 7)]
    assert await through(api, subscription, state="dead") == dead
    assert await through(api, subscription, state="dead", limit="1") == dead
    empty = await page(api, subscription, state="canceled")
    assert empty["data"] == []
    assert empty["next_cursor"] is not None, "there is more to look through"
    assert await through(api, subscription, state="canceled") == []


async def test_of_many_attempts_the_last_are_shown(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_log, "MAX_ATTEMPTS", 2)
    subscription = await api.subscribe("http://127.0.0.1:9999")
    await api.create()
    (delivery,) = (await page(api, subscription))["data"]
    for _ in range(4):
        await api.work(Work.DELIVER)
        clock.advance(1)
        answer = await api.http.post(f"/v1/deliveries/{delivery['id']}/resend")
        assert answer.status_code == 202
    (delivery,) = (await page(api, subscription))["data"]
    numbers = [attempt["id"].rpartition(".")[2] for attempt in delivery["attempts"]]
    assert numbers == ["3", "4"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"limit": "0"}, 422),
        ({"limit": "201"}, 422),
        ({"state": "eaten"}, 422),
        ({"event_id": "\0"}, 422),
        ({"colour": "red"}, 422),
        ({"cursor": "nonsense"}, 400),
        ({"cursor": "!"}, 400),
    ],
)
async def test_an_invalid_query_is_refused(api: Api, params: dict[str, str], status: int) -> None:
    subscription = await api.subscribe("http://127.0.0.1:9999")
    answer = await api.http.get(f"/v1/subscribers/{subscription['id']}/deliveries", params=params)
    assert answer.status_code == status
