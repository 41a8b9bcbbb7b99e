"""A request is bounded: whoever sends too much of a head, or anything too slowly, is cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web import protocol
from service.web.protocol import MAX_HEAD, Bounded


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


@asynccontextmanager
async def connected(
    app: ASGIApp = answer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection to a server that speaks the bounded protocol."""
    config = uvicorn.Config(app, port=0, http=Bounded, lifespan="off", log_config=None)
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
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_a_request_sent_ahead_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("length", [b"content-length: 9", b"transfer-encoding: chunked"])
async def test_a_body_that_does_not_come_to_its_end_is_cut_off(
    length: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.1)
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
