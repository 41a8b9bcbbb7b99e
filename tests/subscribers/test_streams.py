"""Subscribers that are streams get the same bodies and signatures as webhooks."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats import connect
from redis.asyncio import Redis
from standardwebhooks import Webhook

from service.local.nats import nats
from service.local.server import Server
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock

CHANNEL = "acme.subjects"
TYPES = ["subject.queued", "subject.canceled"]


async def made_and_canceled(api: Api) -> str:
    subject_id = str((await api.create())["id"])
    answer = await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    assert answer.status_code == 200
    return subject_id


async def delivered(api: Api, subscriber: Mapping[str, Any], count: int) -> None:
    """Work until so many have been."""
    async with asyncio.timeout(20):
        while True:
            await api.work(Work.DELIVER)
            answer = await api.http.get(f"/v1/subscribers/{subscriber['id']}/deliveries")
            states = [entry["state"] for entry in answer.json()["data"]]
            if states == ["delivered"] * count:
                return


async def in_redis(url: str) -> list[tuple[dict[str, str], bytes]]:
    async with Redis.from_url(url) as client:
        entries = await client.xrange(CHANNEL)
        await client.delete(CHANNEL)
    texts = [{name.decode(): value for name, value in fields.items()} for _, fields in entries]
    return [
        ({name: value.decode() for name, value in fields.items()}, fields["body"])
        for fields in texts
    ]


async def in_nats(url: str) -> list[tuple[dict[str, str], bytes]]:
    client = await connect(url)
    stream = client.jetstream()
    count = (await stream.stream_info("ACME")).state.messages
    subscription = await stream.subscribe(CHANNEL, ordered_consumer=True)
    messages = [await subscription.next_msg(timeout=10) for _ in range(count)]
    await stream.delete_stream("ACME")
    await client.close()
    return [(dict(message.headers or {}), message.data) for message in messages]


async def add_stream(url: str) -> None:
    client = await connect(url)
    await client.jetstream().add_stream(name="ACME", subjects=["acme.>"])
    await client.close()


@pytest.mark.parametrize("kind", ["nats", "redis_stream"])
async def test_a_stream_gets_what_a_webhook_would_in_order_and_signed(
    api: Api, kind: str, nats_server: Server, valkey_server: Server
) -> None:
    url = nats_server.url if kind == "nats" else valkey_server.url
    await add_stream(nats_server.url)
    subscriber = await api.subscribe(url, type=kind, channel=CHANNEL, headers={"x-own": "1"})
    subject_id = await made_and_canceled(api)
    await delivered(api, subscriber, 2)
    messages = await (in_nats(url) if kind == "nats" else in_redis(url))
    page = (await api.http.get(f"/v1/subjects/{subject_id}/events")).json()["data"]
    assert [headers["webhook-id"] for headers, _ in messages] == [event["id"] for event in page]
    assert [orjson.loads(body)["type"] for _, body in messages] == TYPES
    for headers, body in messages:
        Webhook(subscriber["secret"]).verify(body, dict(headers))
        assert headers["content-type"] == "application/json"
        assert headers["x-own"] == "1"
        assert headers["callsheet-attempt"]
        assert headers["Nats-Msg-Id" if kind == "nats" else "id"] == headers["webhook-id"]


@pytest.mark.parametrize("kind", ["nats", "redis_stream"])
async def test_a_stream_gets_cloudevents_if_asked_for(
    api: Api, kind: str, nats_server: Server, valkey_server: Server
) -> None:
    url = nats_server.url if kind == "nats" else valkey_server.url
    await add_stream(nats_server.url)
    subscriber = await api.subscribe(url, type=kind, channel=CHANNEL, format="cloudevents")
    subject_id = await made_and_canceled(api)
    await delivered(api, subscriber, 2)
    messages = await (in_nats(url) if kind == "nats" else in_redis(url))
    page = (await api.http.get(f"/v1/subjects/{subject_id}/events")).json()["data"]
    for (headers, body), shown in zip(messages, page, strict=True):
        Webhook(subscriber["secret"]).verify(body, dict(headers))
        event = orjson.loads(body)
        assert headers["content-type"] == "application/cloudevents+json"
        assert (event["id"], event["type"], event["subject"]) == (
            shown["id"],
            shown["type"],
            subject_id,
        )
        assert (event["time"], event["data"]) == (shown["timestamp"], shown["data"])


async def test_a_stream_that_was_unreachable_gets_all_in_order_and_nothing_twice(
    api: Api, clock: Clock, tmp_path: Path
) -> None:
    with nats(tmp_path) as server:
        await add_stream(server.url)
        subscriber = await api.subscribe(server.url, type="nats", channel=CHANNEL)
        server.kill()
        first = await made_and_canceled(api)
        await api.work(Work.DELIVER)
        listed = await api.http.get(f"/v1/subscribers/{subscriber['id']}/deliveries")
        tried = [attempt for delivery in listed.json()["data"] for attempt in delivery["attempts"]]
        assert [attempt["status"] for attempt in tried] == [None]
        server.start()
        clock.advance(60)
        await delivered(api, subscriber, 2)
        messages = await in_nats(server.url)
    assert [orjson.loads(body)["type"] for _, body in messages] == TYPES
    assert {orjson.loads(body)["data"]["id"] for _, body in messages} == {first}


async def test_the_signature_is_of_the_attempt(
    api: Api, clock: Clock, valkey_server: Server
) -> None:
    subscriber = await api.subscribe(valkey_server.url, type="redis_stream", channel=CHANNEL)
    await made_and_canceled(api)
    await delivered(api, subscriber, 2)
    for headers, _ in await in_redis(valkey_server.url):
        signed = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        assert abs((signed - clock.now).total_seconds()) <= 1
