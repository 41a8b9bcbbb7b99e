"""SSRF: no address that must not be dialled is dialled, by webhooks or streams (promise 10)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from service.delivery.remote.outcomes import Answered, AttemptOutcome, Failed, Published
from service.delivery.remote.streams import StreamPublisher
from service.delivery.remote.webhook import WebhookSender
from service.kit.network.ports import parse_ports
from service.kit.network.ssrf_guard import AddressGuard
from service.kit.network.url_policy import Networks
from service.local.server import Server
from tests.support.ip_addresses import ALL_NETWORKS, ALLOWLIST_ONLY, FORBIDDEN, PUBLIC
from tests.support.name_resolution import LOOPBACK_ONE_ADDRESS, LOOPBACK_V4_AND_V6, Resolver
from tests.support.raw_servers import TIMEOUT, respond, scripted_server
from tests.support.stream_publishing import NO_CREDENTIALS, jetstream, stream_message
from tests.support.webhook_attempts import reason_of


@asynccontextmanager
async def served(kind: str, nats_url: str, valkey_url: str) -> AsyncIterator[int]:
    """A server of this kind that takes what it is sent, on 127.0.0.1; gives its port."""
    if kind == "webhook":
        async with scripted_server(respond(b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n")) as url:
            yield urlsplit(url).port or 0
    elif kind == "nats":
        async with jetstream(nats_url):
            yield urlsplit(nats_url).port or 0
    else:
        yield urlsplit(valkey_url).port or 0


SENDER_KINDS = ("webhook", "nats", "redis_stream")


Send = Callable[
    [str, int], Awaitable[AttemptOutcome]
]  # to this host (in brackets, if need be) and port


@asynccontextmanager
async def open_sender(
    kind: str, guard: AddressGuard, *, inward: bool = False
) -> AsyncIterator[Send]:
    """A function that sends once. Each publish opens a connection of its own; a webhook's server
    has to close its. All is sent in plain text; if `inward`, to allowed networks only."""
    async with (
        WebhookSender(guard) as sender,
        StreamPublisher(guard, allow_plaintext=not inward, idle_seconds=0) as streams,
    ):

        async def post(host: str, port: int) -> AttemptOutcome:
            url = f"http://{host}:{port}/hook"
            return await sender.post(url, {}, b"{}", TIMEOUT, only_allowed_networks=inward)

        async def publish(host: str, port: int) -> AttemptOutcome:
            scheme = "nats" if kind == "nats" else "redis"
            url = f"{scheme}://{host}:{port}"
            return await streams.publish(
                url, NO_CREDENTIALS, "events.all", stream_message(), TIMEOUT
            )

        yield post if kind == "webhook" else publish


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_a_name_that_turns_to_a_private_address_is_refused_at_the_next_dial(
    kind: str, nats_server: Server, valkey_server: Server
) -> None:
    names = Resolver(["127.0.0.1"], ["127.0.0.2"])
    async with (
        served(kind, nats_server.url, valkey_server.url) as port,
        open_sender(kind, AddressGuard(LOOPBACK_ONE_ADDRESS, names)) as send,
    ):
        assert isinstance(await send("sub.test", port), Answered | Published)
        turned = await send("sub.test", port)
    assert names.lookups == ["sub.test"] * 2
    assert isinstance(turned, Failed)
    assert (turned.reason, "loopback" in turned.detail) == ("blocked", True)


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_a_name_that_turns_to_a_public_address_is_sent_no_plain_text(
    kind: str, nats_server: Server, valkey_server: Server
) -> None:
    names = Resolver(["127.0.0.1"], ["127.0.0.1", "93.184.215.14"])
    async with (
        served(kind, nats_server.url, valkey_server.url) as port,
        open_sender(
            kind, AddressGuard(LOOPBACK_V4_AND_V6, names, ports=parse_ports(str(port))), inward=True
        ) as send,
    ):
        assert isinstance(await send("sub.test", port), Answered | Published)
        turned = await send("sub.test", port + 1)  # which the guard would refuse in other words
    assert isinstance(turned, Failed)
    assert (turned.reason, "encrypted" in turned.detail) == ("blocked", True)


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_plain_text_goes_to_public_addresses_where_that_is_allowed(kind: str) -> None:
    guard = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["93.184.215.14"]), ports=parse_ports("443"))
    async with open_sender(kind, guard) as send:
        refused = await send("sub.test", 8000)
    assert isinstance(refused, Failed)
    assert (refused.reason, "port" in refused.detail) == ("blocked", True)


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_the_address_that_was_checked_is_the_one_dialled(
    kind: str, nats_server: Server, valkey_server: Server
) -> None:
    names = Resolver(["127.0.0.1"], ["127.0.0.2"])
    async with (
        served(kind, nats_server.url, valkey_server.url) as port,
        open_sender(kind, AddressGuard(LOOPBACK_ONE_ADDRESS, names)) as send,
    ):
        assert isinstance(await send("sub.test", port), Answered | Published)
    assert names.lookups == ["sub.test"]


@pytest.mark.parametrize("kind", SENDER_KINDS)
@pytest.mark.parametrize(
    ("refused", "allowed"), [([*ALLOWLIST_ONLY, *FORBIDDEN], ()), (FORBIDDEN, ALL_NETWORKS)]
)
async def test_no_refused_address_is_dialled(
    kind: str, refused: list[str], allowed: Networks
) -> None:
    names = Resolver(*([address] for address in refused))
    async with open_sender(kind, AddressGuard(allowed, names)) as send:
        attempts = [await send("sub.test", 8000) for _ in refused]
    assert [reason_of(attempt) for attempt in attempts] == ["blocked"] * len(refused)


@pytest.mark.parametrize("kind", SENDER_KINDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_a_literal_address_is_judged_where_nothing_resolves_it(kind: str, host: str) -> None:
    async with open_sender(kind, AddressGuard(())) as send:
        assert reason_of(await send(host, 8000)) == "blocked"


@pytest.mark.parametrize("addresses", [PUBLIC, ALLOWLIST_ONLY])
async def test_an_address_that_may_be_dialled_is_given_to_be_dialled(addresses: list[str]) -> None:
    guard = AddressGuard(ALL_NETWORKS, Resolver(*([address] for address in addresses)))
    assert [await guard.resolve("sub.test") for _ in addresses] == [
        [address] for address in addresses
    ]


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_one_refused_address_refuses_the_whole_name(kind: str) -> None:
    for answer in (["127.0.0.1", "10.0.0.1"], ["fe80::1", "127.0.0.1"]):
        async with open_sender(kind, AddressGuard(LOOPBACK_V4_AND_V6, Resolver(answer))) as send:
            assert reason_of(await send("sub.test", 8000)) == "blocked"


@pytest.mark.parametrize("kind", SENDER_KINDS)
@pytest.mark.parametrize("answer", [["127.0.0.3", "127.0.0.1"], ["127.0.0.1", "127.0.0.3"]])
async def test_one_address_that_listens_is_enough(
    kind: str, answer: list[str], nats_server: Server, valkey_server: Server
) -> None:
    guard = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(answer))
    async with (
        served(kind, nats_server.url, valkey_server.url) as port,
        open_sender(kind, guard) as send,
    ):
        assert isinstance(await send("sub.test", port), Answered | Published)


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_a_port_that_is_not_open_is_not_dialled(kind: str) -> None:
    guard = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["127.0.0.1"]), ports=parse_ports("443"))
    async with open_sender(kind, guard) as send:
        for host in ("sub.test", "127.0.0.1"):
            attempt = await send(host, 8000)
            assert isinstance(attempt, Failed)
            assert (attempt.reason, attempt.detail) == ("blocked", "this port may not be called")


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_a_name_that_is_not_known_does_not_resolve(kind: str) -> None:
    async with open_sender(kind, AddressGuard(LOOPBACK_V4_AND_V6, Resolver([]))) as send:
        assert reason_of(await send("sub.test", 8000)) == "dns"


@pytest.mark.parametrize("kind", SENDER_KINDS)
async def test_the_environment_names_no_proxy_and_no_server(
    kind: str, nats_server: Server, valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "nats_url", "redis_url"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    async with (
        served(kind, nats_server.url, valkey_server.url) as port,
        open_sender(kind, AddressGuard(LOOPBACK_V4_AND_V6)) as send,
    ):
        assert isinstance(await send("127.0.0.1", port), Answered | Published)
