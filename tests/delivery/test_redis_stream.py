"""Publishing to Redis streams: entries, refusals, credentials, TLS and reconnection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.delivery.remote.outcomes import Failed, Published
from service.delivery.remote.streams import StreamPublisher
from service.kit.network.ssrf_guard import AddressGuard
from service.local.server import Server
from service.local.valkey import valkey
from tests.support.name_resolution import Resolver, tls_contexts
from tests.support.raw_servers import LOOPBACK, TIMEOUT, Script, scripted_server
from tests.support.stream_publishing import (
    MESSAGE_BODY,
    MESSAGE_HEADERS,
    NO_CREDENTIALS,
    publish,
    receipt_of,
    stream_message,
)
from tests.support.webhook_attempts import reason_of


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Redis]:
    """The published client, on a server without the key."""
    async with Redis.from_url(url) as client:
        await client.delete("events.all")
        yield client


def answering(answer: bytes) -> Script:
    """A server that says the same to all it is asked."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer)

    return script


async def test_a_message_is_in_the_stream_to_the_byte(valkey_server: Server) -> None:
    async with reading(valkey_server.url) as client:
        got = receipt_of(await publish(valkey_server.url, stream_message("evt_7")))
        entries = await client.xrange("events.all")
    fields = {name.encode(): value.encode() for name, value in MESSAGE_HEADERS.items()}
    known = {b"id": b"evt_7", b"type": b"subject.succeeded", b"body": MESSAGE_BODY}
    assert entries == [(got, fields | known)]


async def test_an_event_published_again_is_there_again_under_the_same_id(
    valkey_server: Server,
) -> None:
    async with reading(valkey_server.url) as client:
        for _ in range(2):
            receipt_of(await publish(valkey_server.url, stream_message("evt_7")))
        entries = await client.xrange("events.all")
    assert [fields[b"id"] for _, fields in entries] == [b"evt_7"] * 2


async def test_a_custom_header_cannot_replace_the_id_or_the_body(valkey_server: Server) -> None:
    async with reading(valkey_server.url) as client:
        receipt_of(
            await publish(valkey_server.url, stream_message("evt_7", id="x", type="x", body="x"))
        )
        [(_, fields)] = await client.xrange("events.all")
    assert (fields[b"id"], fields[b"type"], fields[b"body"]) == (
        b"evt_7",
        b"subject.succeeded",
        MESSAGE_BODY,
    )


async def test_a_key_that_is_no_stream_is_refused(valkey_server: Server) -> None:
    async with reading(valkey_server.url) as client:
        await client.set("events.all", "x")
        attempt = await publish(valkey_server.url)
        await client.delete("events.all")
    assert reason_of(attempt) == "refused"
    assert isinstance(attempt, Failed)
    assert attempt.detail.startswith("WRONGTYPE")


async def test_the_path_of_the_url_is_the_number_of_the_database(valkey_server: Server) -> None:
    second = valkey_server.url.removesuffix("/0") + "/2"
    async with reading(valkey_server.url) as first, reading(second) as client:
        receipt_of(await publish(second))
        assert await client.xlen("events.all") == 1
        assert await first.xlen("events.all") == 0
    assert reason_of(await publish(valkey_server.url.removesuffix("/0") + "/99999")) == "refused"


@pytest.mark.parametrize(
    ("credentials", "outcome"),
    [
        (NO_CREDENTIALS, "ERR Protocol error: unauthenticated"),
        (("acme", "wr0ng"), "WRONGPASS"),
        (("acme", None), "WRONGPASS"),
        ((None, "s3cret"), "WRONGPASS"),
        (("reader", "s3cret"), "NOPERM"),
        (("acme", "s3cret"), ""),
    ],
)
async def test_credentials_are_used_to_sign_in(
    tmp_path: Path, credentials: tuple[str | None, str | None], outcome: str
) -> None:
    with valkey(tmp_path) as server:
        async with reading(server.url) as client:
            for name, command in (("acme", "+xadd"), ("reader", "+xread")):
                await client.acl_setuser(
                    name, enabled=True, passwords=["+s3cret"], keys=["events.*"], commands=[command]
                )
            await client.acl_setuser("default", enabled=True, passwords=["+other"], nopass=False)
        attempt = await publish(server.url, credentials=credentials)
    if outcome:
        assert reason_of(attempt) == "refused"
        assert isinstance(attempt, Failed)
        assert attempt.detail.startswith(outcome)
        assert "s3cret" not in attempt.detail
    else:
        receipt_of(attempt)


async def test_a_password_that_the_server_repeats_is_not_kept() -> None:
    answer = b"-ERR unknown command 'AUTH', with args beginning with: 'acme' 's3cret'\r\n"
    async with scripted_server(answering(answer)) as url:
        address = url.replace("http", "redis").removesuffix("/hook")
        attempt = await publish(address, credentials=("acme", "s3cret"))
    assert reason_of(attempt) == "refused"
    assert "s3cret" not in str(attempt)
    assert "acme" not in str(attempt)


async def test_a_server_that_was_restarted_is_sent_the_next_message(tmp_path: Path) -> None:
    with valkey(tmp_path) as server:
        async with StreamPublisher(AddressGuard(LOOPBACK)) as streams:
            attempts = []
            for act in (server.kill, server.start, server.kill):
                attempt = await streams.publish(
                    server.url, NO_CREDENTIALS, "events", stream_message(), TIMEOUT
                )
                attempts.append(attempt)
                act()
    assert [type(attempt) for attempt in attempts] == [Published, Failed, Published]
    assert reason_of(attempts[1]) in {"reset", "connect"}


async def test_two_hundred_publishes_at_once_share_one_connection(valkey_server: Server) -> None:
    names = Resolver(["127.0.0.1"])
    url = valkey_server.url.replace("127.0.0.1", "sub.test")
    async with (
        reading(valkey_server.url) as client,
        StreamPublisher(AddressGuard(LOOPBACK, names)) as streams,
    ):
        attempts = await asyncio.gather(
            *(
                streams.publish(
                    url, NO_CREDENTIALS, "events.all", stream_message(f"evt_{number}"), TIMEOUT
                )
                for number in range(200)
            )
        )
        entries = await client.xrange("events.all")
    assert {receipt_of(attempt) for attempt in attempts} == {id_ for id_, _ in entries}
    assert {fields[b"id"] for _, fields in entries} == {b"evt_%d" % number for number in range(200)}
    assert len(entries) == 200
    assert names.lookups == ["sub.test"]


async def test_the_certificate_is_verified_by_name(tmp_path: Path) -> None:
    serving, trusting = tls_contexts("sub.test", tmp_path)
    guard = AddressGuard(LOOPBACK, Resolver(["127.0.0.1"]))
    async with scripted_server(answering(b"$3\r\n1-1\r\n"), tls=serving) as url:
        port = url.removesuffix("/hook").rpartition(":")[2]
        async with StreamPublisher(guard, tls=trusting) as streams:
            attempts = [
                await streams.publish(
                    f"rediss://{host}:{port}", NO_CREDENTIALS, "events", stream_message(), TIMEOUT
                )
                for host in ("sub.test", "other.test")
            ]
    assert receipt_of(attempts[0]) == b"1-1"
    assert reason_of(attempts[1]) == "tls"


async def test_an_answer_that_is_no_id_of_an_entry_is_no_acknowledgement() -> None:
    async with scripted_server(answering(b"+OK\r\n")) as url:
        address = url.replace("http", "redis").removesuffix("/hook")
        assert reason_of(await publish(address)) == "protocol"


async def test_a_server_that_has_become_a_replica_is_dialled_anew() -> None:
    names = Resolver(["127.0.0.1"])
    answer = b"-READONLY You can't write against a read only replica.\r\n"
    async with scripted_server(answering(answer)) as url:
        address = url.replace("http://127.0.0.1", "redis://sub.test").removesuffix("/hook")
        async with StreamPublisher(AddressGuard(LOOPBACK, names)) as streams:
            for _ in range(2):
                attempt = await streams.publish(
                    address, NO_CREDENTIALS, "events", stream_message(), TIMEOUT
                )
                assert reason_of(attempt) == "refused"
    assert names.lookups == ["sub.test"] * 2
