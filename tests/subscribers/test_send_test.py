"""POST /v1/subscribers/{id}/test sends one signed event as any other, and shows the answer."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from standardwebhooks import Webhook
from structlog.typing import EventDict

from service.kit.concurrency.limiter import Limiter
from service.kit.errors import Unavailable
from service.subscribers.steps import send_test
from service.subscribers.steps.send_test import MAX_TESTS_PER_ACCOUNT
from tests.subscribers.test_address_checks import resolving
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.raw_servers import never_respond, respond, scripted_server
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

HIDDEN = "Bearer a-hidden-value"


async def tried(api: Api, subscriber_id: str) -> httpx.Response:
    return await api.http.post(f"/v1/subscribers/{subscriber_id}/test")


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
async def test_a_test_is_a_signed_event_like_any_other(
    api: Api, subscriber: WebhookReceiver, clock: Clock, state: str
) -> None:
    given = {"headers": {"X-Team": "a b", "Authorization": HIDDEN}, "signatures": ["v1", "v1a"]}
    made = await api.subscribe(subscriber.url, **given)
    await fetch(api.resources, "UPDATE subscribers SET state = $1", state)
    before = await everything(api)
    answer = (await tried(api, made["id"])).json()
    ((headers, body),) = subscriber.requests
    assert json.loads(body) == {
        "type": "callsheet.test",
        "timestamp": clock.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {"subscriber_id": made["id"]},
    }
    assert headers["webhook-id"] == answer["event_id"]
    assert answer["event_id"].startswith("evt_test_")
    assert (headers["x-team"], headers["authorization"]) == ("a b", HIDDEN)
    assert [signature[:3] for signature in headers["webhook-signature"].split()] == ["v1,", "v1a"]
    Webhook(made["secret"]).verify(body, headers)
    assert answer["latency_ms"] > 0
    assert {name: answer[name] for name in ("delivered", "status", "error", "answer")} == {
        "delivered": True,
        "status": 200,
        "error": None,
        "answer": "",
    }
    assert await everything(api) == before, "it changes nothing and is kept nowhere"
    assert (await tried(api, made["id"])).json()["event_id"] != answer["event_id"]


async def everything(api: Api) -> list[object]:
    names = ("subscribers", "subscriber_health", "events", "deliveries", "attempts")
    return [await fetch(api.resources, f"SELECT * FROM {name}") for name in names]  # noqa: S608 - our tables


async def test_a_refusal_is_shown_as_it_came_but_safe(api: Api) -> None:
    refusal = b"no\r\n\x1b[2J\xff\xe2\x80\xae<b>" + b"x" * 30_000
    head = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(refusal)
    async with scripted_server(respond(head + refusal)) as url:
        answer = (await tried(api, (await api.subscribe(url))["id"])).json()
    assert (answer["delivered"], answer["status"], answer["error"]) == (False, 500, "status 500")
    assert answer["answer"].startswith("no\\r\\n\\x1b[2J\ufffd\\u202e<b>xxx")
    assert answer["answer"].isprintable()
    assert answer["answer"].count("x") == 20_000 - len(refusal[:-30_000]) + len("x")


async def test_a_redirect_is_a_failure_and_not_followed(
    api: Api, subscriber: WebhookReceiver
) -> None:
    head = f"HTTP/1.1 307 Go\r\nLocation: {subscriber.url}\r\nContent-Length: 0\r\n\r\n"
    async with scripted_server(respond(head.encode())) as url:
        answer = (await tried(api, (await api.subscribe(url))["id"])).json()
    assert (answer["delivered"], answer["status"]) == (False, 307)
    assert subscriber.requests == []


async def test_a_test_without_an_answer_says_why(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009/a-hidden-path")
    shown = await tried(api, made["id"])
    answer = shown.json()
    assert (answer["delivered"], answer["status"], answer["answer"]) == (False, None, None)
    assert answer["error"].startswith("connect: ")
    assert "hidden" not in shown.text


async def test_a_test_ends_at_the_subscribers_own_timeout(api: Api) -> None:
    async with scripted_server(never_respond) as url:
        made = await api.subscribe(url)
        await fetch(api.resources, "UPDATE subscribers SET timeout = 0.2")
        answer = (await tried(api, made["id"])).json()
    assert answer["error"] == "timeout: no answer in time"


async def test_an_address_that_became_private_is_not_called(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009")
    await fetch(api.resources, "UPDATE subscribers SET url = 'https://169.254.169.254/latest'")
    answer = (await tried(api, made["id"])).json()
    assert (answer["delivered"], answer["error"].partition(":")[0]) == (False, "blocked")


async def test_a_change_takes_effect_at_the_next_test(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.subscribe(subscriber.url)
    await tried(api, made["id"])
    async with webhook_receiver() as other:
        path = f"/v1/subscribers/{made['id']}"
        fields = {"url": other.url, "headers": {"X-New": "1"}}
        assert (await api.http.patch(path, json=fields)).status_code == 200
        await tried(api, made["id"])
        assert [headers["x-new"] for headers, _ in other.requests] == ["1"]
    assert len(subscriber.requests) == 1


async def test_few_tests_of_one_account_run_at_once(api: Api) -> None:
    arrived = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        await never_respond(reader, writer)

    async def all_there() -> bool:
        return arrived == MAX_TESTS_PER_ACCOUNT

    async with scripted_server(counting) as url:
        made = await api.subscribe(url)
        under_way = [
            asyncio.create_task(tried(api, made["id"])) for _ in range(MAX_TESTS_PER_ACCOUNT)
        ]
        await wait_until(all_there)
        refused = await tried(api, made["id"])
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    answers = [await answer for answer in under_way]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["error"].partition(":")[0] for answer in answers} == {"reset"}
    assert (await tried(api, made["id"])).status_code == 200, "there is room again"


def test_tests_are_limited_per_account_and_in_all() -> None:
    limiter = Limiter(3, 2)
    with limiter.slot("a"), limiter.slot("a"):
        with pytest.raises(Unavailable), limiter.slot("a"):
            pass
        with limiter.slot("b"), pytest.raises(Unavailable), limiter.slot("c"):
            pass
        with limiter.slot("c"):
            pass


def test_a_slot_is_free_again_however_a_test_ends() -> None:
    limiter = Limiter(1, 1)
    with pytest.raises(ZeroDivisionError), limiter.slot("a"):
        raise ZeroDivisionError
    with limiter.slot("a"):
        pass


async def test_nothing_secret_is_logged_of_a_test(
    api: Api, subscriber: WebhookReceiver, logged: list[EventDict]
) -> None:
    made = await api.subscribe(subscriber.url, headers={"X-Token": HIDDEN})
    shown = await tried(api, made["id"])
    text = shown.text + str(logged)
    assert HIDDEN not in text
    assert made["secret"].removeprefix("whsec_") not in text


async def test_a_name_that_resolves_differently_later_is_checked_again(api: Api) -> None:
    """A test is sent by the sender that all deliveries have, behind the same SSRF guard."""
    made = await api.subscribe("http://127.0.0.1:65009")
    await fetch(api.resources, "UPDATE subscribers SET url = 'https://lan.example'")
    (row,) = await fetch(api.resources, "SELECT account_id FROM subscribers")
    guarded = resolving(api.resources)
    async with type(api.resources.webhook_sender)(guarded.guard) as sender:
        resources = replace(guarded, webhook_sender=sender)
        outcome = await send_test.send_test(resources, row["account_id"], made["id"])
    assert outcome.error is not None
    assert outcome.error.startswith("blocked: ")
    assert timedelta(seconds=outcome.latency) < timedelta(seconds=30)
