"""/v1/subscribers: create, read, list, delete, and the deliveries of a subscriber."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.kit.crypto.webhook_signatures import jwk_thumbprint, public_key_from_seed
from service.kit.errors import Invalid
from service.subjects.domain.work import Work
from service.subscribers.steps import manage
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.webhook_receiver import WebhookReceiver

TYPES = ["subject.failed", "subject.succeeded"]
SHOWN: dict[str, Any] = {  # where nothing is asked for
    "type": "webhook",
    "channel": None,
    "description": "",
    "state": "active",
    "disabled_reason": None,
    "event_types": None,
    "reference_types": None,
    "tags": None,
    "order": "per_subject",
    "headers": {},
    "timeout": None,
    "concurrency": None,
    "rate": None,
    "schedule": None,
    "format": "standard",
    "signatures": ["v1"],
    "public_keys": [],
}


async def post(api: Api, **body: object) -> httpx.Response:
    return await api.http.post("/v1/subscribers", json=body)


def errors(answer: httpx.Response) -> set[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return {(error["pointer"], error["code"]) for error in answer.json()["errors"]}


async def test_a_new_subscriber_is_shown_with_its_secret_this_once(
    api: Api, subscriber: WebhookReceiver
) -> None:
    answer = await post(
        api, url=subscriber.url, event_types=[*TYPES, *TYPES], description="our back end"
    )
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    secret = body.pop("secret")
    assert secret.startswith("whsec_")
    assert answer.headers["location"] == f"/v1/subscribers/{body['id']}"
    read = await api.http.get(answer.headers["location"])
    assert (read.status_code, read.json()) == (200, body)
    assert {name: body[name] for name in body if name not in {"id", "created_at"}} == SHOWN | {
        "url": subscriber.url,
        "description": "our back end",
        "event_types": TYPES,
    }
    listed = await api.http.get("/v1/subscribers")
    assert listed.json() == {"data": [body], "next_cursor": None}
    assert secret not in read.text + listed.text


async def test_whatever_is_asked_for_is_shown(api: Api) -> None:
    given = {
        "url": "nats://127.0.0.1:4222",
        "type": "nats",
        "channel": "callsheet.events",
        "format": "cloudevents",
        "event_types": ["callsheet.subscriber.failing"],
        "reference_types": ["video_refer", "image_refer"],
        "tags": ["o_102"],
        "description": "a stream",
        "headers": {"X-Team": "casting", "Authorization": "Bearer hidden"},
        "timeout": 2.5,
        "concurrency": 7,
        "rate": 0.5,
        "schedule": [1, 2.5],
        "order": "none",
        "signatures": ["v1", "v1a"],
    }
    made = (await post(api, **given, username="ada", password="hidden")).json()
    shown = (await api.http.get(f"/v1/subscribers/{made['id']}")).json()
    masked = {"X-Team": "casting", "Authorization": "***"}
    assert {name: shown[name] for name in given} == given | {"headers": masked}
    assert not {"username", "password", "secret"} & shown.keys()
    (key,) = shown["public_keys"]
    assert key["key"].startswith("whpk_")
    (row,) = await fetch(api.resources, "SELECT * FROM subscribers")
    assert key["kid"] == jwk_thumbprint(row["public_key"])
    encryptor, id_ = api.resources.encryptor, made["id"]
    assert public_key_from_seed(encryptor.decrypt(row["seed"], f"{id_} seed")) == row["public_key"]
    assert json.loads(encryptor.decrypt(row["credentials"], f"{id_} credentials")) == {
        "username": "ada",
        "password": "hidden",
    }
    assert not [value for value in row.values() if isinstance(value, bytes) and b"hidden" in value]


async def test_a_secret_may_be_given(api: Api) -> None:
    secret = "whsec_" + "QUJD" * 8
    made = await api.subscribe("http://127.0.0.1:65009", secret=secret)
    assert made["secret"] == secret
    (row,) = await fetch(api.resources, "SELECT secret FROM subscribers")
    assert api.resources.encryptor.decrypt(row["secret"], made["id"]) == b"ABC" * 8


async def test_the_number_of_subscribers_of_an_account_is_limited(api: Api) -> None:
    settings = replace(api.resources.settings, max_subscribers_per_account=2)
    few = replace(api.resources, settings=settings)
    (row,) = await fetch(few, "SELECT id FROM accounts")
    body = {"url": "http://127.0.0.1:65009"}
    made = await asyncio.gather(
        *(manage.create(few, row["id"], body) for _ in range(8)), return_exceptions=True
    )
    refused = [result for result in made if isinstance(result, Invalid)]
    assert len(refused) == 6
    assert {error.code for invalid in refused for error in invalid.errors} == {
        "too_many_subscribers"
    }
    assert "2" in refused[0].errors[0].message
    listed = (await api.http.get("/v1/subscribers")).json()["data"]
    assert len(listed) == 2
    await manage.delete(few, row["id"], listed[0]["id"])
    await manage.create(few, row["id"], body)
    await api_keys.create(few, "other", SCOPES)
    (other,) = await fetch(few, "SELECT id FROM accounts WHERE name = 'other'")
    await manage.create(few, other["id"], body)


async def test_hidden_subscribers_are_not_shown_or_changed(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009")
    await fetch(api.resources, "UPDATE subscribers SET type = 'callback'")
    path = f"/v1/subscribers/{made['id']}"
    assert (await api.http.get("/v1/subscribers")).json()["data"] == []
    for answer in (
        await api.http.get(path),
        await api.http.patch(path, json={"state": "paused"}),
        await api.http.post(f"{path}/test"),
        await api.http.delete(path),
    ):
        assert answer.status_code == 404
    assert len(await fetch(api.resources, "SELECT id FROM subscribers")) == 1


async def test_a_subscriber_whose_headers_cannot_be_decrypted_is_shown_without_them(
    api: Api,
) -> None:
    made = await api.subscribe("http://127.0.0.1:65009", headers={"X-A": "b"})
    await fetch(api.resources, "UPDATE subscribers SET headers = secret")
    path = f"/v1/subscribers/{made['id']}"
    assert (await api.http.get(path)).json()["headers"] is None
    assert (await api.http.get("/v1/subscribers")).json()["data"][0]["headers"] is None
    tried = await api.http.post(f"{path}/test")
    assert (tried.status_code, tried.json()["code"]) == (503, "unavailable")
    changed = await api.http.patch(path, json={"headers": {"X-A": "c"}})
    assert changed.json()["headers"] == {"X-A": "c"}


async def test_two_subscribers_have_different_secrets(api: Api) -> None:
    secrets = {(await api.subscribe("http://127.0.0.1:65009"))["secret"] for _ in range(3)}
    assert len(secrets) == 3


async def test_a_deleted_subscriber_is_gone_with_its_deliveries(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.subscribe(subscriber.url)
    await api.create()
    path = f"/v1/subscribers/{made['id']}"
    assert (await api.http.delete(path)).status_code == 204
    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/deliveries")):
        assert (await api.http.request(method, where)).status_code == 404
    await api.work(Work.DELIVER)
    assert subscriber.requests == []


async def test_deliveries_are_shown_with_their_attempts(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.subscribe(subscriber.url)
    path = f"/v1/subscribers/{made['id']}/deliveries"
    subject = await api.create()
    (waiting,) = (await api.http.get(path)).json()["data"]
    assert (waiting["state"], waiting["attempts"]) == ("pending", [])
    assert waiting["next_attempt_at"] is not None
    await api.work(Work.DELIVER)
    (delivery,) = (await api.http.get(path)).json()["data"]
    (attempt,) = delivery.pop("attempts")
    assert (attempt["status"], attempt["error"]) == (200, None)
    assert {"at", "status", "latency_ms", "error"} <= set(attempt)
    ended = {"state": "delivered", "next_attempt_at": None}
    del waiting["attempts"]
    assert delivery == waiting | ended
    clock.advance(1)
    await api.http.post(f"/v1/subjects/{subject['id']}/cancel")
    newest = (await api.http.get(path, params={"limit": 1})).json()["data"]
    assert [event["type"] for event in newest] == ["subject.canceled"]


async def test_every_broken_rule_of_a_subscriber_is_named_at_once(api: Api) -> None:
    wrong = await post(
        api, url=7, event_types=["subject.eaten", 7], description="x" * 201, secret="mine", a=1
    )
    assert errors(wrong) == {
        ("/url", "wrong_type"),
        ("/event_types/0", "not_allowed"),
        ("/event_types/1", "wrong_type"),
        ("/description", "too_long"),
        ("/secret", "secret"),
        ("/a", "unknown_field"),
    }
    assert errors(await post(api)) == {("/url", "required")}
    assert (await api.http.get("/v1/subscribers")).json()["data"] == []
