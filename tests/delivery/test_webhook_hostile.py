"""Webhook receivers that answer too much, too slowly or no HTTP do not harm the sender."""

import asyncio
import gzip
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery.remote.outcomes import Answered, Failed
from service.delivery.remote.webhook import MAX_BODY, WebhookSender
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import (
    LOOPBACK,
    SHORT_TIMEOUT,
    TIMEOUT,
    Script,
    never_respond,
    read_request,
    respond,
    respond_endlessly,
    scripted_server,
)
from tests.support.webhook_attempts import answered_attempt, failure_reason, post_webhook, reason_of


async def test_a_packed_answer_stays_packed() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    answer = await answered_attempt(respond(head.encode() + bomb))
    assert answer.body == bomb[:MAX_BODY]


async def test_an_endless_answer_is_cut() -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await answered_attempt(respond_endlessly(start, b"400\r\n" + b"x" * 1024 + b"\r\n"))
    assert (answer.status, answer.body) == (200, b"x" * MAX_BODY)


async def test_a_trickling_answer_is_cut_when_the_time_is_up() -> None:
    start = b"HTTP/1.1 500 x\r\nContent-Length: 1000000\r\n\r\n"
    answer = await answered_attempt(respond_endlessly(start, b"x", 0.01), SHORT_TIMEOUT)
    assert answer.status == 500
    assert 0 < len(answer.body) < MAX_BODY


async def test_a_connection_with_a_cut_answer_is_not_used_again() -> None:
    connections = itertools.count(1)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b"%d" % next(connections)
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + body.ljust(MAX_BODY))
        await reader.read()

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        bodies = [await sender.post(url, {}, b"{}", TIMEOUT) for _ in range(2)]
    assert [answer.body.strip() for answer in bodies if isinstance(answer, Answered)] == [
        b"1",
        b"2",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        b"HTTP/1.1 200 OK\r\n\r\npart",
    ],
)
async def test_a_status_stands_though_its_body_breaks_off(answer: bytes) -> None:
    assert (await answered_attempt(respond(answer))).status == 200


NEVER_AN_ANSWER: dict[str, Script] = {
    "nothing": never_respond,
    "a trickled header": respond_endlessly(b"HTTP/1.1 200 OK\r\n", b"x", 0.01),
    "trickled headers": respond_endlessly(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.02),
}


@pytest.mark.parametrize("kind", NEVER_AN_ANSWER)
async def test_a_subscriber_without_an_answer_times_out(kind: str) -> None:
    assert await failure_reason(NEVER_AN_ANSWER[kind], SHORT_TIMEOUT) == "timeout"


GOOD = b"HTTP/1.1 200 OK\r\n"
NOT_HTTP: dict[str, Script] = {
    "words": respond(b"hello\r\n\r\n"),
    "a long line": respond(b"x" * 5000),
    "binary": respond(b"\x16\x03\x01\x02\x00" * 100),
    "a huge status": respond(b"HTTP/1.1 999999 x\r\n\r\n"),
    "a negative status": respond(b"HTTP/1.1 -1 x\r\n\r\n"),
    "a huge status line": respond(b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n"),
    "a huge header": respond(GOOD + b"x: " + b"x" * 100_000 + b"\r\n\r\n"),
    "endless headers": respond_endlessly(GOOD, b"x: y\r\n"),
}


@pytest.mark.parametrize("kind", NOT_HTTP)
async def test_an_answer_that_is_not_http_is_none(kind: str) -> None:
    assert await failure_reason(NOT_HTTP[kind]) == "protocol"


async def hanging_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.transport.abort()


@pytest.mark.parametrize("script", [hanging_up, resetting, respond(b"HTTP/1.1 200 OK\r\nConte")])
async def test_a_connection_that_ends_before_the_answer_is_a_reset(script: Script) -> None:
    assert await failure_reason(script) == "reset"


FRAGMENTS = st.sampled_from(
    [
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 x\r\n",
        b"HTTP/1.1 100 x\r\n\r\n",
        b"HTTP/1.0 204 x\r\n",
        b"HTTP/9.9 299 x\r\n",
        b"\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b"Retry-After: \xff\xfe\r\n",
        b"Set-Cookie: \xff=;=\r\n",
        b"Location: http://[\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"\x00",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS | st.binary(max_size=20), max_size=8).map(b"".join))
async def test_whatever_a_subscriber_answers_the_outcome_is_a_value(answer: bytes) -> None:
    async with scripted_server(respond(answer)) as url:
        attempt = await post_webhook(url)
    assert isinstance(attempt, Answered | Failed)
    if isinstance(attempt, Failed):
        assert reason_of(attempt) in {"protocol", "reset"}


INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"


@pytest.mark.parametrize("piece", [1, 10_000])
async def test_interim_answers_without_end_are_cut_off(piece: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        while not writer.is_closing():
            writer.write(INTERIM * piece)
            await writer.drain()

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        attempt = await sender.post(url, {}, b"{}", 50)
    assert isinstance(attempt, Failed)
    assert attempt.reason == "protocol"


async def test_a_few_interim_answers_and_a_long_body_are_taken() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    for _ in range(2):
        attempt = await answered_attempt(respond(INTERIM * 3 + answer))
        assert (attempt.status, len(attempt.body)) == (200, MAX_BODY)
