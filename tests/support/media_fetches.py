"""Scripted media servers, and the results of fetching from them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.kit.network.ssrf_guard import AddressGuard
from service.media.domain.defects import Defect
from service.media.remote.fetch import MAX_PIECE, Fetched, Fetcher
from tests.support.raw_servers import LOOPBACK, TIMEOUT, Script, http_response, scripted_server

MAX_BYTES = 100_000  # bytes that these tests take
SECRET = "secret"  # stands in every path and query that is asked for
PATH = f"/{SECRET}/a.png?signature={SECRET}"


@dataclass
class CollectedBody:
    """A feed that keeps the pieces of a body; it wants `max_bytes` at most, None for all."""

    max_bytes: int | None = None
    pieces: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    async def feed(self, piece: bytes) -> bool:
        assert 0 < len(piece) <= MAX_PIECE
        self.pieces.append(piece)
        return self.max_bytes is None or len(self.data) < self.max_bytes


@dataclass
class MediaServer:
    """A running media server."""

    url: str
    request_heads: list[str] = field(default_factory=list)  # in lower case


@asynccontextmanager
async def media_server(
    pages: Mapping[str, bytes | Script] | bytes | Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[MediaServer]:
    """A server that answers by path, or every request alike, one request a connection."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head.lower())
        page = pages[head.split()[1]] if isinstance(pages, Mapping) else pages
        if isinstance(page, bytes):
            writer.write(page)
            await writer.drain()
        else:
            await page(reader, writer)

    async with scripted_server(serve, tls) as url:
        yield MediaServer(url.removesuffix("/hook"), heads)


def redirect_to(location: str, status: int = 302, headers: str = "") -> bytes:
    return http_response(status=status, headers=f"Location: {location}\r\n{headers}")


async def reset_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def fetch_media(
    url: str,
    feed: Callable[[bytes], Awaitable[bool]] | None = None,
    by: Fetcher | None = None,
    *,
    most: int = MAX_BYTES,
    seconds: float = TIMEOUT,
) -> Fetched | Defect:
    """Fetch once; `by` is closed after that."""
    async with by or Fetcher(AddressGuard(LOOPBACK)) as fetcher:
        came = await fetcher.fetch(
            url, feed or CollectedBody().feed, max_bytes=most, timeout_seconds=seconds
        )
    if isinstance(came, Defect):
        assert came.message.isprintable()
        assert SECRET not in came.message
        assert "127.0.0.1" not in came.message
        assert came.transient == (came.code == "unreachable")
    return came


async def fetched_bytes(page: bytes | Script, most: int = MAX_BYTES) -> bytes:
    """The bytes of a fetch that succeeds."""
    taken = CollectedBody()
    async with media_server(page) as host:
        came = await fetch_media(host.url + PATH, taken.feed, most=most)
    assert came == Fetched(len(taken.data)), came
    return taken.data


async def failure_code(
    page: bytes | Script, by: Fetcher | None = None, seconds: float = TIMEOUT
) -> str:
    """The code of a fetch that fails."""
    async with media_server(page) as host:
        return code_of(await fetch_media(host.url + PATH, by=by, seconds=seconds))


def code_of(came: Fetched | Defect) -> str:
    assert isinstance(came, Defect), came
    return came.code
