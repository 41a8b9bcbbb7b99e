"""Which URLs subscribers may have: checked as text, and by the addresses that names resolve to."""

import socket
from collections.abc import Sequence
from dataclasses import replace

from service.delivery.remote.streams import StreamPublisher
from service.delivery.remote.webhook import WebhookSender
from service.kit.errors import Invalid
from service.kit.network.ports import parse_ports
from service.kit.network.ssrf_guard import AddressGuard
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.subscribers.steps import manage, send_test
from tests.subscribers.test_manage import errors, post
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.name_resolution import Resolver

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
    ("https://example.com/" + "x" * 8173, "url_too_long"),
)


async def test_a_url_that_must_not_be_called_is_refused(api: Api) -> None:
    for url, code in REFUSED:
        assert errors(await post(api, url=url)) == {("/url", code)}, url
    assert (await api.http.get("/v1/subscribers")).json()["data"] == []


async def codes(resources: Resources, url: str, **fields: object) -> set[str]:
    """What is wrong with a URL, for the account of the test."""
    (row,) = await fetch(resources, "SELECT id FROM accounts")
    try:
        await manage.create(resources, row["id"], {"url": url, **fields})
    except Invalid as error:
        return {field.code for field in error.errors}
    return set()


def resolving(resources: Resources, *, allow_http: bool = False) -> Resources:
    """The resources with a name resolution that NAMES gives."""

    async def lookup(host: str) -> Sequence[str]:
        if host not in NAMES:
            raise socket.gaierror
        return NAMES[host]

    changed = replace(resources.settings, allow_http=allow_http)
    guard = AddressGuard(changed.allowed_private_targets, lookup)
    return replace(resources, settings=changed, guard=guard)


async def test_a_host_name_is_checked_by_the_addresses_it_resolves_to(api: Api) -> None:
    resources = resolving(api.resources)
    assert await codes(resources, "http://inside.example/") == set()
    assert await codes(resources, "https://outside.example/") == set()
    assert await codes(resources, "https://later.example/") == set(), "attempts check again"
    assert await codes(resources, "https://lan.example/") == {"url_blocked"}
    assert await codes(resources, "https://both.example/") == {"url_blocked"}


async def test_plain_http_is_for_private_networks_unless_the_setting_allows_it(api: Api) -> None:
    resources = resolving(api.resources)
    for name in ("outside", "later", "halfway"):
        assert await codes(resources, f"http://{name}.example/") == {"url_scheme"}, name
    allowing = resolving(api.resources, allow_http=True)
    for name in ("outside", "later", "halfway"):
        assert await codes(allowing, f"http://{name}.example/") == set(), name


async def test_the_url_of_a_stream_is_checked_as_any_other(api: Api) -> None:
    resources = resolving(api.resources)
    for kind, plain, encrypted in (("nats", "nats", "tls"), ("redis_stream", "redis", "rediss")):
        fields = {"type": kind, "channel": "ours"}
        for url, wrong in (
            (f"{plain}://inside.example", set()),
            (f"{plain}://outside.example", {"url_scheme"}),
            (f"{encrypted}://outside.example", set()),
            (f"{encrypted}://lan.example", {"url_blocked"}),
            (f"{plain}://10.0.0.1", {"url_address"}),
        ):
            assert await codes(resources, url, **fields) == wrong, url


async def tried(resources: Resources, url: str, guard: AddressGuard, **fields: object) -> str:
    """What an attempt fails with, at a subscriber whose name leads elsewhere since it was made."""
    (row,) = await fetch(resources, "SELECT id FROM accounts")
    allow_plain = resources.settings.allow_http
    async with (
        WebhookSender(guard) as sender,
        StreamPublisher(guard, allow_plaintext=allow_plain) as streams,
    ):
        turned = replace(resources, guard=guard, webhook_sender=sender, stream_publisher=streams)
        subscriber, _ = await manage.create(turned, row["id"], {"url": url, **fields})
        return (await send_test.send_test(turned, row["id"], subscriber.id)).error or ""


async def test_a_name_that_becomes_public_later_is_sent_nothing_unencrypted(api: Api) -> None:
    """No port is open to this guard: where the address may be called, it says so of the port."""

    def turning() -> AddressGuard:
        allowed = api.resources.settings.allowed_private_targets
        names = Resolver(["127.0.0.1"], ["93.184.215.14"])
        return AddressGuard(allowed, names, ports=parse_ports("1"))

    for url, fields in (
        ("http://turning.example/", {}),
        ("HTTP://turning.example/", {}),
        ("nats://turning.example", {"type": "nats", "channel": "ours"}),
        ("redis://turning.example", {"type": "redis_stream", "channel": "ours"}),
    ):
        assert "encrypted" in await tried(api.resources, url, turning(), **fields), url
        allowing = replace(api.resources, settings=replace(api.resources.settings, allow_http=True))
        assert "port" in await tried(allowing, url, turning(), **fields), url
    for url, fields in (
        ("https://turning.example/", {}),
        ("tls://turning.example", {"type": "nats", "channel": "ours"}),
        ("rediss://turning.example", {"type": "redis_stream", "channel": "ours"}),
    ):
        assert "port" in await tried(api.resources, url, turning(), **fields), url


async def test_a_callback_url_may_be_public_and_unencrypted(api: Api) -> None:
    outside = AddressGuard((), Resolver(["93.184.215.14"]), ports=parse_ports("1"))
    subject_id = (await api.create(callback_url="http://outside.example/hook"))["id"]
    submitted = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
    await transition(api.resources, subject_id, submitted)
    async with WebhookSender(outside) as sender:
        resources = replace(api.resources, guard=outside, webhook_sender=sender)
        await Api(resources, api.http).work(Work.DELIVER)
    (delivery,) = (await api.http.get(f"/v1/subjects/{subject_id}/deliveries")).json()["data"]
    (attempt,) = delivery["attempts"]
    assert "port" in attempt["error"]
