"""Bodies that may be large: a server that reads them, callers that send them, and the files
between."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
import starlette.requests
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from service.kit.errors import CallsheetError
from service.kit.http import large_bodies
from service.kit.http.large_bodies import MAX_IN_MEMORY, LargeBodyReader
from service.kit.http.request import Request
from service.kit.http.responses import error_response, json_response
from tests.support.http_server import http_server

LIMIT = 12_000_000
HEADERS = {"content-type": "application/json"}
Transform = Callable[[Any], Any]


def json_text(size: int) -> bytes:
    """A JSON string of `size` bytes."""
    return b'"' + b"x" * (size - 2) + b'"'


def open_temporary_files() -> int:
    """Number of open files of this process that have no name and hold a large body."""
    found = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - one of them is the listing's own
        try:
            status = os.fstat(int(name))
        except OSError:
            continue
        found += (
            stat.S_ISREG(status.st_mode) and not status.st_nlink and status.st_size > MAX_IN_MEMORY
        )
    return found


@asynccontextmanager
async def body_server(
    held: LargeBodyReader, make: Transform = len, hold: asyncio.Event | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that answers with what `make` gives for a body, once `hold` is set."""

    async def answer(given: starlette.requests.Request) -> Response:
        request = Request(given.scope, given.receive, {})
        async with large_bodies.read(
            request, LIMIT, request.headers.get("account") or "acc"
        ) as body:
            made = await body.apply(make)
            if hold is not None:
                await hold.wait()
            return json_response({"large": body.large, "made": made})

    async def refused(_request: starlette.requests.Request, error: Exception) -> Response:
        return error_response(cast("CallsheetError", error))

    routes = [Route("/", answer, methods=["POST"])]
    app = Starlette(routes=routes, exception_handlers={CallsheetError: refused})
    app.state.bodies = held
    async with (
        http_server(app) as address,
        httpx.AsyncClient(base_url=address, headers=HEADERS, trust_env=False, timeout=30) as http,
    ):
        yield http


def request_head(length: int) -> bytes:
    """The head of a request whose body has `length` bytes."""
    lines = (
        "POST / HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {length}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def start_request(http: httpx.AsyncClient, length: int, sent: bytes) -> asyncio.StreamWriter:
    """A connection on which the head and this part of the body were sent."""
    _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(request_head(length) + sent)
    return writer


async def in_chunks(content: bytes) -> AsyncIterator[bytes]:
    """The content in chunks; other tasks run after each."""
    for at in range(0, len(content), 50_000):
        yield content[at : at + 50_000]
        await asyncio.sleep(0)


async def refusal_of(held: LargeBodyReader, make: Transform, content: bytes) -> CallsheetError:
    """The error by which a body is refused whose client stays connected."""
    chunks = iter([content])
    for_ever = asyncio.Event()

    async def receive() -> Message:
        for chunk in chunks:
            return {"type": "http.request", "body": chunk, "more_body": False}
        await for_ever.wait()
        raise AssertionError

    with pytest.raises(CallsheetError) as raised:
        async with held.read(receive, HEADERS, LIMIT, "acc") as body:
            await body.apply(make)
    return raised.value
