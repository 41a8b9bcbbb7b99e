"""Servers of streams that are none, or mean ill: whatever they do comes out as a value, in time."""

import asyncio
import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery.remote.outcomes import Failed, Published
from service.delivery.remote.streams import StreamPublisher
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import (
    LOOPBACK,
    SHORT_TIMEOUT,
    TIMEOUT,
    Script,
    never_respond,
    scripted_server,
    send_at_once,
    send_at_once_endlessly,
)
from tests.support.stream_publishing import NO_CREDENTIALS, publish, stream_message
from tests.support.webhook_attempts import reason_of

INFO = b'INFO {"headers": true, "max_payload": 1048576}\r\n'
SCHEMES = ("nats", "redis")


def at(url: str, scheme: str) -> str:
    """The URL of a listening script, as a stream's."""
    return url.replace("http", scheme).removesuffix("/hook")


async def failed(scheme: str, script: Script, seconds: float = TIMEOUT) -> str:
    async with scripted_server(script) as url:
        return reason_of(await publish(at(url, scheme), seconds=seconds))


NEVER_AN_ANSWER: dict[str, Script] = {
    "nothing": never_respond,
    "a trickled line": send_at_once_endlessly(b"", b"x", 0.01),
    "half an answer": send_at_once_endlessly(b"$20\r\n", b"", 0.01),
    "a greeting and then nothing": send_at_once_endlessly(b'INFO {"headers"', b"", 0.01),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", NEVER_AN_ANSWER)
async def test_a_server_that_does_not_answer_times_out(scheme: str, kind: str) -> None:
    assert await failed(scheme, NEVER_AN_ANSWER[kind], SHORT_TIMEOUT) in {"timeout", "protocol"}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_silent_server_times_out(scheme: str) -> None:
    assert await failed(scheme, never_respond, SHORT_TIMEOUT) == "timeout"


NOT_NATS: dict[str, bytes] = {
    "words": b"hello\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "info that is no JSON": b"INFO {\r\n",
    "info that is no object": b"INFO [1]\r\n",
    "words before TLS": b'INFO {"tls_required": true}\r\nPING',
    "a huge message": INFO + b"MSG a 1 999999999999\r\n",
    "a message of no size": INFO + b"MSG a 1 -5\r\n",
    "a message of another size": INFO + b"MSG a 1 1\r\nabcdef\r\n",
    "headers larger than the message": INFO + b"HMSG a 1 999 1\r\na\r\n",
    "a message without arguments": INFO + b"MSG\r\n",
}
NOT_REDIS: dict[str, bytes] = {
    "words": b"hello\r\n",
    "an array": b"*1\r\n$1\r\na\r\n",
    "a huge string": b"$999999999999\r\n",
    "a string of no size": b"$-5\r\n",
    "a null": b"$-1\r\n",
    "a string of another size": b"$1\r\nabcdef\r\n",
    "a push": b">2\r\n+invalidate\r\n",
    "what is no entry's id": b"+OK\r\n",
    "binary": b"\x16\x03\x01\x02\x00\r\n",
}


@pytest.mark.parametrize("kind", NOT_NATS)
async def test_what_is_not_nats_is_a_protocol_error(kind: str) -> None:
    assert await failed("nats", send_at_once(NOT_NATS[kind])) == "protocol"


async def test_a_server_that_takes_no_headers_is_refused() -> None:
    assert await failed("nats", send_at_once(b'INFO {"version": "2.1.9"}\r\n')) == "refused"


@pytest.mark.parametrize("kind", NOT_REDIS)
async def test_what_is_not_redis_is_a_protocol_error(kind: str) -> None:
    assert await failed("redis", send_at_once(NOT_REDIS[kind])) == "protocol"


ENDLESS: dict[tuple[str, str], Script] = {
    ("nats", "a line without end"): send_at_once_endlessly(b"INFO ", b"x" * 1000),
    ("nats", "greetings"): send_at_once_endlessly(INFO, INFO),
    ("nats", "questions"): send_at_once_endlessly(INFO, b"PING\r\n" * 1000),
    ("nats", "assent"): send_at_once_endlessly(INFO, b"+OK\r\n" * 1000),
    ("nats", "other people's messages"): send_at_once_endlessly(INFO, b"MSG a 1 1\r\nx\r\n" * 99),
    ("redis", "a line without end"): send_at_once_endlessly(b"+", b"x" * 1000),
    ("redis", "answers"): send_at_once_endlessly(b"", b"$3\r\n1-1\r\n" * 1000),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_server_that_sends_without_end_is_cut_off(kind: tuple[str, str]) -> None:
    connections = itertools.count()
    cut = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next(connections)
        try:
            await ENDLESS[kind](reader, writer)
        finally:
            cut.set()

    async with scripted_server(script) as url, StreamPublisher(AddressGuard(LOOPBACK)) as streams:
        await streams.publish(at(url, kind[0]), NO_CREDENTIALS, "events", stream_message(), TIMEOUT)
        async with asyncio.timeout(TIMEOUT):
            await cut.wait()
    assert next(connections) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_connection_that_ends_before_the_acknowledgement_is_a_reset(scheme: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO if scheme == "nats" else b"")
        await reader.read(1)
        writer.transport.abort()

    assert await failed(scheme, script) == "reset"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_port_that_does_not_listen_fails_to_connect(scheme: str) -> None:
    async with scripted_server(never_respond) as url:
        pass
    assert reason_of(await publish(at(url, scheme))) == "connect"


@pytest.mark.parametrize(
    "url", ["", "nats:", "nats:///x", "http://127.0.0.1", "redis://127.0.0.1/x"]
)
async def test_what_is_no_url_of_a_stream_cannot_be_published_to(url: str) -> None:
    assert reason_of(await publish(url)) == "request"


async def test_the_addresses_that_a_server_names_are_never_dialled() -> None:
    visitors = itertools.count()

    async def elsewhere(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        next(visitors)

    async with scripted_server(elsewhere) as other:
        address = at(other, "nats").removeprefix("nats://")
        info = {"headers": True, "connect_urls": [address], "cluster": "c"}
        answers = {
            "nats": b"INFO " + orjson.dumps(info) + b"\r\n",
            "redis": f"-MOVED 3999 {address}\r\n".encode(),
        }
        for scheme, answer in answers.items():
            async with (
                scripted_server(send_at_once(answer)) as url,
                StreamPublisher(AddressGuard(LOOPBACK)) as streams,
            ):
                for _ in range(2):
                    attempt = await streams.publish(
                        at(url, scheme), NO_CREDENTIALS, "events", stream_message(), SHORT_TIMEOUT
                    )
                    assert reason_of(attempt) in {"reset", "refused", "timeout"}
                    assert address not in str(attempt)
    assert next(visitors) == 0


FRAGMENTS = st.sampled_from(
    [
        INFO,
        b"INFO {}\r\n",
        b'INFO {"headers": 1, "max_payload": "x", "tls_required": 0}\r\n',
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"-ERR 'Permissions Violation for Publish to \"events\"'\r\n",
        b"-ERR\r\n",
        b"-\xff\xfe\r\n",
        b"MSG _INBOX.x 1 3\r\nabc\r\n",
        b"HMSG _INBOX.x 1 2 4\r\nabcd\r\n",
        b"$3\r\n1-1\r\n",
        b":1\r\n",
        b"\r\n",
        b"\x00",
    ]
)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=100, deadline=None)
@given(data=st.lists(FRAGMENTS | st.binary(max_size=20), max_size=8).map(b"".join))
async def test_whatever_a_server_sends_the_outcome_is_a_value(scheme: str, data: bytes) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.write_eof()
        await writer.drain()

    async with scripted_server(script) as url:
        attempt = await publish(at(url, scheme))
    if isinstance(attempt, Failed):
        assert reason_of(attempt) in {"protocol", "refused", "reset", "tls"}
    else:
        assert isinstance(attempt, Published)
        assert scheme == "redis"
