"""/v1/subscribers: who may be written to, under which URL, and what became of it."""

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx

from service.core.errors import Invalid
from service.queue import Work
from service.remote.guard import Guard
from service.steps import subscribe
from service.steps.resources import Resources
from tests.calling import fetch
from tests.conftest import Api, Clock
from tests.local.simulating import Receiver

NAMES = {
    "inside.example": ["127.0.0.1", "127.0.0.2"],
    "outside.example": ["93.184.215.14"],
    "halfway.example": ["127.0.0.1", "93.184.215.14"],
    "lan.example": ["192.168.1.1"],
    "both.example": ["93.184.215.14", "192.168.1.1"],
}
REFUSED = (
    ("http://10.0.0.1/hook", "url_address"),
    ("https://10.0.0.1/hook", "url_address"),
    ("https://[::1]/hook", "url_address"),
    ("https://169.254.169.254/latest", "url_address"),
    ("https://[::ffff:10.0.0.1]/hook", "url_address"),
    ("http://93.184.215.14/hook", "url_scheme"),
    ("ftp://127.0.0.1/hook", "url_scheme"),
    ("https://user:pass@example.com/", "url_userinfo"),
    ("https://", "url_host"),
    ("not a url", "url_malformed"),
    ("https://127.1/hook", "url_host"),
    ("http://127.0.0.1:0/hook", "url_port"),
    ("https://example.com/" + "x" * 2048, "url_too_long"),
)
TYPES = ["subject.failed", "subject.succeeded"]


async def post(api: Api, **body: object) -> httpx.Response:
    return await api.http.post("/v1/subscribers", json=body)


def errors(answer: httpx.Response) -> set[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return {(one["pointer"], one["code"]) for one in answer.json()["errors"]}


async def test_a_new_subscriber_is_shown_with_its_secret_this_once(
    api: Api, subscriber: Receiver
) -> None:
    answer = await post(
        api, url=subscriber.url, event_types=[*TYPES, *TYPES], description="our back end"
    )
    assert answer.status_code == 201
    body: dict[str, Any] = answer.json()
    secret = body.pop("secret")
    assert secret.startswith("whsec_")
    assert answer.headers["location"] == f"/v1/subscribers/{body['id']}"
    read = await api.http.get(answer.headers["location"])
    assert (read.status_code, read.json()) == (200, body)
    assert {name: body[name] for name in body if name not in {"id", "created_at"}} == {
        "url": subscriber.url,
        "description": "our back end",
        "state": "active",
        "disabled_reason": None,
        "event_types": TYPES,
        "signatures": ["v1"],
    }
    listed = await api.http.get("/v1/subscribers")
    assert listed.json() == {"data": [body], "next_cursor": None}
    assert secret not in read.text + listed.text


async def test_two_subscribers_have_different_secrets(api: Api) -> None:
    secrets = {(await api.subscribe("http://127.0.0.1:9"))["secret"] for _ in range(3)}
    assert len(secrets) == 3


async def test_a_removed_subscriber_is_gone_with_what_waited_for_it(
    api: Api, subscriber: Receiver
) -> None:
    made = await api.subscribe(subscriber.url)
    await api.create()
    path = f"/v1/subscribers/{made['id']}"
    assert (await api.http.delete(path)).status_code == 204
    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/deliveries")):
        assert (await api.http.request(method, where)).status_code == 404
    await api.work(Work.DELIVER)
    assert subscriber.got == []


async def test_deliveries_are_shown_with_their_attempts(
    api: Api, subscriber: Receiver, clock: Clock
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
    assert set(attempt) == {"at", "status", "latency_ms", "error"}
    ended = {"state": "delivered", "next_attempt_at": None}
    del waiting["attempts"]
    assert delivery == waiting | ended
    clock.pass_by(1)
    await api.http.post(f"/v1/subjects/{subject['id']}/cancel")
    newest = (await api.http.get(path, params={"limit": 1})).json()["data"]
    assert [one["type"] for one in newest] == ["subject.canceled"]


async def test_every_broken_rule_of_a_subscriber_is_named_at_once(api: Api) -> None:
    wrong = await post(
        api, url=7, event_types=["subject.eaten", 7], description="x" * 201, secret="mine"
    )
    assert errors(wrong) == {
        ("/url", "required"),
        ("/event_types/0", "unknown_event_type"),
        ("/event_types/1", "unknown_event_type"),
        ("/description", "description"),
        ("/secret", "unknown_field"),
    }
    assert errors(await post(api)) == {("/url", "required")}
    wrong_types: tuple[object, ...] = ([], "subject.failed", {})
    for types in wrong_types:
        assert errors(await post(api, url="http://127.0.0.1:9", event_types=types)) == {
            ("/event_types", "type")
        }
    for description in (None, 7, "\0"):
        answer = await post(api, url="http://127.0.0.1:9", description=description)
        assert errors(answer) == {("/description", "description")}


async def test_a_url_that_must_not_be_called_is_refused(api: Api) -> None:
    for url, code in REFUSED:
        assert errors(await post(api, url=url)) == {("/url", code)}, url
    assert (await api.http.get("/v1/subscribers")).json()["data"] == []


async def codes(resources: Resources, url: str) -> set[str]:
    """What is wrong with a URL, for the account of the test."""
    (row,) = await fetch(resources, "SELECT id FROM accounts")
    try:
        await subscribe.subscribe(resources, row["id"], {"url": url})
    except Invalid as error:
        return {one.code for one in error.findings}
    return set()


def resolving(resources: Resources, *, allow_http: bool = False) -> Resources:
    """The same, where names resolve as NAMES says."""

    async def lookup(host: str) -> Sequence[str]:
        if host not in NAMES:
            raise socket.gaierror
        return NAMES[host]

    changed = replace(resources.settings, allow_http=allow_http)
    guard = Guard(changed.allowed_private_targets, lookup)
    return replace(resources, settings=changed, guard=guard)


async def test_a_name_is_judged_by_what_it_resolves_to(api: Api) -> None:
    resources = resolving(api.resources)
    assert await codes(resources, "http://inside.example/") == set()
    assert await codes(resources, "https://outside.example/") == set()
    assert await codes(resources, "https://later.example/") == set(), "attempts check again"
    assert await codes(resources, "https://lan.example/") == {"url_blocked"}
    assert await codes(resources, "https://both.example/") == {"url_blocked"}


async def test_plain_http_is_for_what_is_inside_unless_it_is_allowed(api: Api) -> None:
    resources = resolving(api.resources)
    for name in ("outside", "later", "halfway"):
        assert await codes(resources, f"http://{name}.example/") == {"url_scheme"}, name
    allowing = resolving(api.resources, allow_http=True)
    for name in ("outside", "later", "halfway"):
        assert await codes(allowing, f"http://{name}.example/") == set(), name
