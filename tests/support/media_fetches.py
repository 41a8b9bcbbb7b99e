"""Scripted hosts of media, and what came of fetching from them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.kit.network.ssrf_guard import AddressGuard
from service.media.remote.fetch import PIECE, Fetched, Fetcher, Unfetched
from tests.support.scripted_servers import LOOPBACK, PATIENCE, Script, listening

MOST = 100_000  # bytes that these tests take
SECRET = "secret"  # stands in every path and query that is asked for
PATH = f"/{SECRET}/a.png?signature={SECRET}"


@dataclass
class Taken:
    """What a feed was given; it wants `enough` bytes at most."""

    enough: int | None = None
    pieces: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    async def feed(self, piece: bytes) -> bool:
        assert 0 < len(piece) <= PIECE
        self.pieces.append(piece)
        return self.enough is None or len(self.data) < self.enough


@dataclass
class Host:
    """`heads` are those of the requests it got, in lower case."""

    url: str
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def hosting(
    pages: Mapping[str, bytes | Script] | bytes | Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Host]:
    """A host that answers by path, or to all alike, one request a connection."""
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

    async with listening(serve, tls) as url:
        yield Host(url.removesuffix("/hook"), heads)


def answer(
    body: bytes = b"", status: int = 200, headers: str = "", length: int | None = None
) -> bytes:
    """A whole answer, and then the connection ends; `headers` are lines that end in CRLF each."""
    said = len(body) if length is None else length
    head = f"HTTP/1.1 {status} x\r\nContent-Length: {said}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def to(location: str, status: int = 302, headers: str = "") -> bytes:
    return answer(status=status, headers=f"Location: {location}\r\n{headers}")


def for_ever(start: bytes, part: bytes, pause: float = 0) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def resetting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def fetch(
    url: str,
    feed: Callable[[bytes], Awaitable[bool]] | None = None,
    by: Fetcher | None = None,
    *,
    most: int = MOST,
    seconds: float = PATIENCE,
) -> Fetched | Unfetched:
    """What came of it; `by` is closed after that."""
    async with by or Fetcher(AddressGuard(LOOPBACK)) as fetcher:
        came = await fetcher.fetch(url, feed or Taken().feed, most=most, seconds=seconds)
    if isinstance(came, Unfetched):
        assert came.message.isprintable()
        assert SECRET not in came.message
        assert "127.0.0.1" not in came.message
        assert came.passing == (came.code == "unreachable")
    return came


async def fetched(page: bytes | Script, most: int = MOST) -> bytes:
    """The bytes that came."""
    taken = Taken()
    async with hosting(page) as host:
        came = await fetch(host.url + PATH, taken.feed, most=most)
    assert came == Fetched(len(taken.data)), came
    return taken.data


async def unfetched(
    page: bytes | Script, by: Fetcher | None = None, seconds: float = PATIENCE
) -> str:
    """The code of why it did not come."""
    async with hosting(page) as host:
        return code(await fetch(host.url + PATH, by=by, seconds=seconds))


def code(came: Fetched | Unfetched) -> str:
    assert isinstance(came, Unfetched), came
    return came.code
