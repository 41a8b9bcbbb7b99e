"""Publishing to NATS streams: acknowledgements, refusals, credentials, TLS and reconnection."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from nats import connect
from nats.aio.msg import Msg

from service.delivery.remote.outcomes import Failed, Published
from service.delivery.remote.streams import StreamPublisher
from service.kit.network.ssrf_guard import AddressGuard
from service.local.nats import nats
from service.local.server import Server
from tests.support.name_resolution import Resolver, tls_contexts
from tests.support.raw_servers import LOOPBACK, SHORT_TIMEOUT, TIMEOUT
from tests.support.stream_publishing import (
    MESSAGE_BODY,
    MESSAGE_HEADERS,
    NO_CREDENTIALS,
    jetstream,
    publish,
    receipt_of,
    stream_message,
)
from tests.support.webhook_attempts import reason_of

ACCOUNTS = """
accounts {
  ACME {
    jetstream: enabled
    users: [
      {user: all, password: "all s3cret"}
      {user: some, password: "some s3cret", permissions: {publish: {deny: "events.not"}}}
      {user: deaf, password: "deaf s3cret", permissions: {subscribe: {deny: ">"}}}
    ]
  }
}
"""


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It lets in only those of ACCOUNTS."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "accounts.conf").write_text(ACCOUNTS)
    with nats(folder, ["--config", str(folder / "accounts.conf")]) as server:
        yield server


async def test_a_message_is_in_the_stream_to_the_byte(nats_server: Server) -> None:
    async with jetstream(nats_server.url) as stream:
        got = receipt_of(await publish(nats_server.url, stream_message("evt_7")))
        stored = await stream.get_last_msg("EVENTS", "events.all")
    assert orjson.loads(got) == {"stream": "EVENTS", "seq": 1}
    assert stored.data == MESSAGE_BODY
    assert stored.headers == MESSAGE_HEADERS | {"Nats-Msg-Id": "evt_7"}


async def test_an_event_published_again_is_in_the_stream_once(nats_server: Server) -> None:
    async with jetstream(nats_server.url) as stream:
        receipts = [receipt_of(await publish(nats_server.url)) for _ in range(2)]
        assert (await stream.stream_info("EVENTS")).state.messages == 1
    assert [orjson.loads(receipt).get("duplicate", False) for receipt in receipts] == [False, True]


async def test_a_subject_that_no_stream_takes_is_refused(nats_server: Server) -> None:
    attempt = await publish(nats_server.url, channel="no.stream")
    assert reason_of(attempt) == "refused"
    assert isinstance(attempt, Failed)
    assert attempt.detail == "no stream takes this subject"


async def test_a_plain_subscriber_of_the_subject_does_not_acknowledge(nats_server: Server) -> None:
    client = await connect(nats_server.url)
    await client.subscribe("plain.subject")
    await client.flush()
    attempt = await publish(nats_server.url, channel="plain.subject", seconds=SHORT_TIMEOUT)
    await client.close()
    assert reason_of(attempt) == "timeout"


async def test_a_reply_of_another_shape_is_no_acknowledgement(nats_server: Server) -> None:
    client = await connect(nats_server.url)

    async def reply(message: Msg) -> None:
        await message.respond(b'{"thanks": true}')

    await client.subscribe("plain.subject", cb=reply)
    await client.flush()
    attempt = await publish(nats_server.url, channel="plain.subject")
    await client.close()
    assert reason_of(attempt) == "protocol"


async def test_a_streams_refusal_is_quoted(nats_server: Server) -> None:
    async with jetstream(nats_server.url):
        attempt = await publish(
            nats_server.url, stream_message(**{"Nats-Expected-Stream": "OTHER"})
        )
    assert reason_of(attempt) == "refused"
    assert isinstance(attempt, Failed)
    assert "expected stream does not match" in attempt.detail


@pytest.mark.parametrize(
    "credentials", [NO_CREDENTIALS, ("all", "wr0ng"), ("all", None), (None, "all s3cret")]
)
async def test_wrong_credentials_are_refused(
    guarded_server: Server, credentials: tuple[str | None, str | None]
) -> None:
    attempt = await publish(guarded_server.url, credentials=credentials)
    assert reason_of(attempt) == "refused"
    assert isinstance(attempt, Failed)
    assert attempt.detail == "Authorization Violation"


async def test_a_subject_without_permission_leaves_the_others_alone(
    guarded_server: Server,
) -> None:
    credentials = ("some", "some s3cret")
    client = await connect(guarded_server.url, user="all", password="all s3cret")
    await client.jetstream().add_stream(name="EVENTS", subjects=["events.>"])
    names = Resolver(["127.0.0.1"])
    url = guarded_server.url.replace("127.0.0.1", "sub.test")
    async with StreamPublisher(AddressGuard(LOOPBACK, names)) as streams:
        attempts = await asyncio.gather(
            *(
                streams.publish(
                    url, credentials, channel, stream_message(f"evt_{channel}"), TIMEOUT
                )
                for channel in ("events.a", "events.not", "events.b")
            )
        )
    await client.close()
    assert [type(attempt) for attempt in attempts] == [Published, Failed, Published]
    assert reason_of(attempts[1]) == "refused"
    assert names.lookups == ["sub.test"]


async def test_a_user_without_permission_for_its_inbox_is_refused(guarded_server: Server) -> None:
    attempt = await publish(guarded_server.url, credentials=("deaf", "deaf s3cret"))
    assert reason_of(attempt) == "refused"
    assert isinstance(attempt, Failed)
    assert "Subscription" in attempt.detail


async def test_a_token_opens_a_server_that_asks_for_one(tmp_path: Path) -> None:
    with nats(tmp_path, ["--auth", "t0ken"]) as server:
        assert reason_of(await publish(server.url, credentials=(None, "t0ken"))) == "refused"
        attempt = await publish(server.url, credentials=(None, "t0ken"))
    assert isinstance(attempt, Failed)
    assert attempt.detail == "no stream takes this subject"


async def test_a_message_too_large_for_the_server_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "small.conf").write_text("max_payload: 2048")
    with nats(tmp_path, ["--config", str(tmp_path / "small.conf")]) as server:
        async with jetstream(server.url), StreamPublisher(AddressGuard(LOOPBACK)) as streams:
            large = stream_message("evt_2", padding="x" * 2048)
            attempts = [
                await streams.publish(server.url, NO_CREDENTIALS, "events.all", message, TIMEOUT)
                for message in (stream_message("evt_1"), large, stream_message("evt_3"))
            ]
    assert [type(attempt) for attempt in attempts] == [Published, Failed, Published]
    assert reason_of(attempts[1]) == "refused"


async def test_a_server_that_was_restarted_is_sent_the_next_message(tmp_path: Path) -> None:
    with nats(tmp_path) as server:
        client = await connect(server.url)
        await client.jetstream().add_stream(name="EVENTS", subjects=["events.>"])
        await client.close()
        async with StreamPublisher(AddressGuard(LOOPBACK)) as streams:
            attempts = []
            for event, act in [("1", server.kill), ("2", server.start), ("2", server.kill)]:
                message = stream_message(event)
                attempts.append(
                    await streams.publish(server.url, NO_CREDENTIALS, "events.a", message, TIMEOUT)
                )
                act()
    assert [type(attempt) for attempt in attempts] == [Published, Failed, Published]
    assert reason_of(attempts[1]) in {"reset", "connect"}
    assert orjson.loads(receipt_of(attempts[2]))["seq"] == 2


async def test_two_hundred_publishes_at_once_share_one_connection(nats_server: Server) -> None:
    names = Resolver(["127.0.0.1"])
    url = nats_server.url.replace("127.0.0.1", "sub.test")
    async with (
        jetstream(nats_server.url) as stream,
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
        message_count = (await stream.stream_info("EVENTS")).state.messages
    assert {orjson.loads(receipt_of(attempt))["seq"] for attempt in attempts} == set(range(1, 201))
    assert message_count == 200
    assert names.lookups == ["sub.test"]


async def test_the_certificate_is_verified_by_name(tmp_path: Path) -> None:
    _, trusting = tls_contexts("sub.test", tmp_path)
    both = str(tmp_path / "both.pem")
    guard = AddressGuard(LOOPBACK, Resolver(["127.0.0.1"]))
    with nats(tmp_path, ["--tls", "--tlscert", both, "--tlskey", both]) as server:
        port = server.url.rpartition(":")[2]
        async with StreamPublisher(guard, tls=trusting) as streams:
            reasons = [
                await streams.publish(url, NO_CREDENTIALS, "events.all", stream_message(), TIMEOUT)
                for url in (
                    f"tls://sub.test:{port}",
                    f"nats://sub.test:{port}",
                    f"tls://other.test:{port}",
                    f"nats://other.test:{port}",
                )
            ]
    assert [reason_of(attempt) for attempt in reasons] == ["refused", "refused", "tls", "tls"]


async def test_credentials_are_not_sent_in_plain_text_to_a_server_that_should_have_tls(
    guarded_server: Server,
) -> None:
    url = guarded_server.url.replace("nats", "tls")
    assert reason_of(await publish(url, credentials=("all", "all s3cret"))) == "tls"


@pytest.mark.parametrize(
    "channel", ["", "a b", "a..b", ".a", "a.", "a.*", ">", "a\r\nPUB x 0\r\n", "a\tb"]
)
async def test_a_channel_that_is_no_subject_is_not_sent(nats_server: Server, channel: str) -> None:
    assert reason_of(await publish(nats_server.url, channel=channel)) == "request"


@pytest.mark.parametrize(("name", "value"), [("a", "b\r\nc: d"), ("a:b", "c"), ("a b", "c")])
async def test_headers_that_would_break_the_message_are_not_sent(
    nats_server: Server, name: str, value: str
) -> None:
    assert reason_of(await publish(nats_server.url, stream_message(**{name: value}))) == "request"
