"""A subscriber's answer whose status has come, with something odd in its head or behind it."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import suppress

import pytest

from service.delivery.remote.outcomes import Answered
from service.delivery.remote.webhook import WebhookSender
from service.kit.network.bounded_http import MAX_HEAD
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import (
    LOOPBACK,
    SHORT_TIMEOUT,
    TIMEOUT,
    Script,
    read_request,
    respond,
    scripted_server,
)
from tests.support.webhook_attempts import answered_attempt, failure_reason

LARGE = b"Content-Security-Policy: " + b"x" * 9000
# What follows the status line.
ODD = {
    "a comment behind the body": b"Content-Length: 2\r\n\r\nok\n<!-- 12 ms -->",
    "another answer behind the body": b"Content-Length: 2\r\n\r\nokHTTP/1.1 410 Gone\r\n\r\n",
    "a chunk that is none": b"Transfer-Encoding: chunked\r\n\r\nok\r\n",
    "a chunk of a length that is none": b"Transfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n0\r\n\r\n",
    "a length and chunks": b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "a length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length below zero": b"Content-Length: -2\r\n\r\nok",
    "a length in words": b"Content-Length: two\r\n\r\nok",
    "a huge length": b"Content-Length: 99999999999999999999999\r\n\r\nok",
    "a header without a name": b": odd\r\nContent-Length: 2\r\n\r\nok",
    "a header without a colon": b"odd\r\nContent-Length: 2\r\n\r\nok",
    "a blank in a header's name": b"an odd : one\r\nContent-Length: 2\r\n\r\nok",
    "a header with a zero byte": b"X-Odd: \x00\r\nContent-Length: 2\r\n\r\nok",
    "a line that goes on before there is one": b" odd\r\nContent-Length: 2\r\n\r\nok",
    "a header of 9000 bytes": LARGE + b"\r\nContent-Length: 2\r\n\r\nok",
    "a header as long as a head may be": b"X: "
    + b"x" * 65_400
    + b"\r\nContent-Length: 2\r\n\r\nok",
    "a thousand headers": b"x: y\r\n" * 1000 + b"Content-Length: 2\r\n\r\nok",
    "lines that end in a line feed": b"odd\nContent-Length: 2\n\nok",
}


def pieces(answer: bytes, how: str) -> Iterator[bytes]:
    if how == "byte by byte":
        return (answer[at : at + 1] for at in range(len(answer)))
    if how == "a head and the rest":
        head, end, rest = answer.partition(b"\r\n\r\n")
        return iter((head + end, rest))
    return iter((answer,))


def respond_in_pieces(answer: bytes, how: str) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces(answer, how):
            writer.write(piece)
            await asyncio.sleep(0)  # each is read before the next one is written
        await reader.read()

    return script


HOW = ("in one piece", "a head and the rest", "byte by byte")
LONG = 1000  # bytes: what has more takes too long byte by byte


@pytest.mark.parametrize(
    ("kind", "how"),
    [(kind, how) for kind in ODD for how in HOW[: 2 if len(ODD[kind]) > LONG else 3]],
)
async def test_a_status_stands_whatever_is_odd_behind_it(kind: str, how: str) -> None:
    answer = await answered_attempt(
        respond_in_pieces(b"HTTP/1.1 200 OK\r\n" + ODD[kind], how), SHORT_TIMEOUT
    )
    assert answer.status == 200
    assert answer.body in {b"ok", b""}


@pytest.mark.parametrize("status", [204, 302, 410, 500])
@pytest.mark.parametrize("kind", ["a length twice", "a chunk that is none"])
async def test_whatever_the_status_is_it_stands(kind: str, status: int) -> None:
    answer = b"HTTP/1.1 %d Odd\r\n" % status + ODD[kind]
    assert (await answered_attempt(respond(answer))).status == status


async def test_retry_after_is_read_from_an_odd_head() -> None:
    head = b"HTTP/1.1 503 x\r\n: odd\r\nretry-after:  120 \r\nContent-Length: 0\r\n\r\n"
    answer = await answered_attempt(respond(head))
    assert (answer.status, answer.retry_after) == (503, "120")


async def test_a_broken_body_is_not_waited_for() -> None:
    """The connection stays open on their side, and the time-out is far away."""
    script = respond_in_pieces(b"HTTP/1.1 200 OK\r\n" + ODD["a chunk that is none"], "in one piece")
    async with asyncio.timeout(TIMEOUT / 2):
        assert (await answered_attempt(script, TIMEOUT)).status == 200


@pytest.mark.parametrize("kind", ["a length twice", "a chunk that is none", *list(ODD)[:2]])
async def test_a_connection_with_an_odd_answer_is_not_used_again(kind: str) -> None:
    connections = itertools.count(1)
    used: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(connections)
        while True:
            await read_request(reader)
            used.append(connection)
            writer.write(b"HTTP/1.1 200 OK\r\n" + ODD[kind])

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        for _ in range(2):
            attempt = await sender.post(url, {}, b"{}", TIMEOUT)
            assert isinstance(attempt, Answered)
            assert attempt.status == 200
    assert used == [1, 2]


async def test_what_is_said_on_a_connection_that_rests_ends_it() -> None:
    """Else the next delivery would take it for its own answer."""
    resting, ended = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await resting.wait()
        writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        with suppress(ConnectionError):
            assert await reader.read(1) == b""
        ended.set()

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        assert isinstance(await sender.post(url, {}, b"{}", TIMEOUT), Answered)
        resting.set()
        async with asyncio.timeout(TIMEOUT):
            await ended.wait()
        attempt = await sender.post(url, {}, b"{}", TIMEOUT)
    assert isinstance(attempt, Answered)
    assert attempt.status == 200


ODD_INTERIM = b"HTTP/1.1 103 Early Hints\r\n: odd\r\n\r\n"


@pytest.mark.parametrize("how", ["in one piece", "byte by byte"])
async def test_an_interim_answer_is_passed_over_however_odd_it_is(how: str) -> None:
    answer = ODD_INTERIM * 3 + b"\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    attempt = await answered_attempt(respond_in_pieces(answer, how))
    assert (attempt.status, attempt.body) == (201, b"ok")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n: odd\r\nx: " + b"x" * MAX_HEAD + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b": odd\r\n" * MAX_HEAD,
    ],
)
async def test_an_odd_head_is_as_long_as_any_at_most(answer: bytes) -> None:
    assert await failure_reason(respond(answer)) == "protocol"


async def test_an_odd_head_that_does_not_end_is_no_answer() -> None:
    assert await failure_reason(respond(b"HTTP/1.1 200 OK\r\n: odd\r\nConte")) == "reset"
    script = respond_in_pieces(b"HTTP/1.1 200 OK\r\n: odd\r\nConte", "in one piece")
    assert await failure_reason(script, SHORT_TIMEOUT) == "timeout"


@pytest.mark.parametrize("status", [b"HTTP/1.1 2x0 OK", b"HTTP/1.1 99 OK", b"ICY 200 OK"])
async def test_without_a_status_there_is_no_answer(status: bytes) -> None:
    assert await failure_reason(respond(status + b"\r\n: odd\r\n\r\n")) == "protocol"


async def test_a_whole_answer_leaves_the_connection_for_the_next_one() -> None:
    connections = itertools.count(1)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = b"%d" % next(connections)
        while True:
            await read_request(reader)
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            for piece in pieces(head + b"1\r\n" + connection + b"\r\n0\r\n\r\n", "byte by byte"):
                writer.write(piece)
                await asyncio.sleep(0)

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        for _ in range(3):
            attempt = await sender.post(url, {}, b"{}", TIMEOUT)
            assert isinstance(attempt, Answered)
            assert attempt.body == b"1"
