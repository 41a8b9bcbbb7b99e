"""A request is bounded: whoever sends too much of a head, or anything too slowly, is cut off."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.kit.http import connection_limits
from service.kit.http.connection_limits import MAX_HEAD, BoundedHttpProtocol


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    """What came in one piece."""
    body = (await receive()).get("body", b"")
    length = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": body})


async def whole(_scope: Scope, receive: Receive, send: Send) -> None:
    """The whole body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    length = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": body})


async def fields(scope: Scope, receive: Receive, send: Send) -> None:
    """Its headers, as the application sees them once the body has come."""
    while (await receive()).get("more_body"):
        pass
    body = repr(scope["headers"]).encode()
    length = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(
    app: ASGIApp = answer, protocol_class: type[BoundedHttpProtocol] = BoundedHttpProtocol
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection to a server that speaks the bounded protocol."""
    config = uvicorn.Config(app, port=0, http=protocol_class, lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()


async def test_a_plain_request_is_answered_and_the_next_one_too() -> None:
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_head_without_end_is_refused() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        line = b"x-filler: " + b"x" * 1000 + b"\r\n"
        answered = b""
        # What was sent beyond the bound is never read, so the cut may come as a reset.
        with suppress(ConnectionError):
            for _ in range(100 * MAX_HEAD // len(line)):
                writer.write(line)
                await writer.drain()
            answered = await reader.read(64)
        assert answered[:12] in {b"", b"HTTP/1.1 400"}


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_to_its_end_is_cut_off(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_a_request_sent_ahead_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("length", [b"content-length: 9", b"transfer-encoding: chunked"])
async def test_a_body_that_does_not_come_to_its_end_is_cut_off(
    length: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n" + length + b"\r\n\r\n1\r\n")
        answered = await reader.read()
        assert answered.startswith(b"HTTP/1.1 400 ")
        assert answered.endswith(b"did not come in time.")


async def test_a_body_in_pieces_is_waited_for() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
        for piece in (b"a", b"b", b"cd"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_an_offer_to_upgrade_costs_no_body() -> None:
    async with connected(echo) as (reader, writer):
        for _ in range(2):
            head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\n"
            offer = b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\ncontent-length: 4\r\n\r\n"
            writer.write(head + offer + b"body")
            assert (await reader.readuntil(b"body")).startswith(b"HTTP/1.1 200")


OFFER = (
    b"POST / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\n"
    b"Upgrade: h2c\r\ncontent-length: 29\r\n\r\n"
)
WITHIN = b"GET / HTTP/1.1\r\nhost: hid\r\n\r\n"  # 29 bytes: a body that looks like a request


async def answers(reader: asyncio.StreamReader, bodies: Sequence[bytes]) -> None:
    """Whole answers of 200 with these bodies, and nothing more until the connection ends."""
    for body in bodies:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(body)) == body
    assert await reader.read() == b""


@pytest.mark.parametrize("cut", range(1, len(OFFER + WITHIN)))
async def test_the_body_of_an_offer_to_upgrade_is_a_body_wherever_the_pieces_end(cut: int) -> None:
    sent, came = OFFER + WITHIN, asyncio.Event()

    class Noticing(BoundedHttpProtocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            came.set()

    async with connected(whole, Noticing) as (reader, writer):
        writer.write(sent[:cut])
        await came.wait()
        writer.write(sent[cut:] + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        await answers(reader, [WITHIN, b""])


async def test_many_offers_to_upgrade_in_one_piece_are_each_answered_with_their_body() -> None:
    last = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nz"
    async with connected(whole) as (reader, writer):
        writer.write((OFFER + WITHIN) * 3 + last)
        await answers(reader, [WITHIN, WITHIN, WITHIN, b"z"])


async def test_what_only_a_proxy_does_is_refused_and_nothing_behind_it_is_read() -> None:
    async with connected(whole) as (reader, writer):
        writer.write(b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\ncontent-length: 29\r\n\r\n" + WITHIN)
        answered = await reader.read()
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1") == 1


async def test_blanks_around_a_value_are_no_part_of_it() -> None:
    async with connected(fields) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost:\t x \t\r\nKey: a b \r\nEmpty: \t\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        expected = [(b"host", b"x"), (b"key", b"a b"), (b"empty", b"")]
        assert await reader.readexactly(len(repr(expected))) == repr(expected).encode()


async def test_what_comes_behind_a_body_is_no_header_of_this_request_or_the_next() -> None:
    async with connected(fields) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"0\r\nauthorization: Bearer z\r\nhost: y\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for expected in (
            [(b"host", b"x"), (b"transfer-encoding", b"chunked")],
            [(b"host", b"x")],
        ):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(repr(expected))) == repr(expected).encode()


CHUNKED = b"host: x\r\ntransfer-encoding: chunked"
REFUSED = [
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.1\r\nhost: x\r\nhost: x",
    b"GET / HTTP/1.1\r\nhost: x\r\nhost: y",
    b"GET / HTTP/1.0\r\nhost: x\r\nhost: y",
    b"GET / HTTP/1.1\r\nhost: x y",
    b"GET / HTTP/1.1\r\nhost: x/y",
    b"GET / HTTP/1.1\r\nhost: user@x",
    b"GET / HTTP/1.1\r\nhost: x:80a",
    b"GET / HTTP/1.1\r\nhost: x%zz",
    b"GET / HTTP/1.1\r\nhost: [::1",
    b"GET / HTTP/1.1\r\nhost: x, y",
    b"GET / HTTP/1.1\r\nhost: \xc3\xa4",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding:",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked;q=1",
    b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\ntransfer-encoding: chunked",
    b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\ncontent-length: 5",
    b"POST / HTTP/1.1\r\ncontent-length: 5\r\n" + CHUNKED,
    b"POST / HTTP/1.0\r\n" + CHUNKED,
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 6",
]


async def refused(head: bytes) -> bytes:
    """The whole answer to a request that must come to nobody, with another one behind it."""
    came: list[Scope] = []

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(scope)
        await answer(scope, receive, send)

    async with connected(keep) as (reader, writer):
        body = b"0\r\n\r\n" if b"transfer-encoding" in head else b""
        writer.write(head + b"\r\n\r\n" + body + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        answered = await reader.read()
    assert came == []
    return answered


@pytest.mark.parametrize("head", REFUSED)
async def test_a_head_that_leaves_open_what_is_meant_is_refused_and_the_connection_closed(
    head: bytes,
) -> None:
    answered = await refused(head)
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in answered
    assert answered.count(b"HTTP/1.1") == 1


async def test_a_refused_head_is_told_what_is_wrong_with_it() -> None:
    assert (await refused(REFUSED[0])).endswith(b"\r\n\r\nA request has one Host header.")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0",
        b"GET / HTTP/1.1\r\nhost:",
        b"GET / HTTP/1.1\r\nhost: a_b.example:8000",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1:",
        b"GET / HTTP/1.1\r\nhost: [::1]:80",
        b"GET / HTTP/1.1\r\nhost: xn--bcher-kva.example",
        b"GET http://y/ HTTP/1.1\r\nhost: x",
        b"POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked",
    ],
)
async def test_a_head_that_says_it_well_is_taken(head: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(head + b"\r\n\r\n" + b"0\r\n\r\n" * head.startswith(b"POST"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
