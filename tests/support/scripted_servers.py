"""Scripted servers to send to, and what came of sending."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from service.delivery.remote.outcomes import Answered, AttemptOutcome, Failed
from service.delivery.remote.webhook import KEPT_DETAIL, WebhookSender
from service.kit.network.ssrf_guard import AddressGuard
from service.kit.network.url_policy import parse_networks

LOOPBACK = parse_networks("127.0.0.0/8")
PATIENCE = 30.0  # seconds; never waited for by a test that passes
SHORT = 0.3  # seconds, where the time-out itself is the subject

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that treats each connection by the script and then closes it; gives its URL."""
    busy: set[asyncio.Task[None]] = set()

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(treat(reader, writer))
        busy.add(task)
        task.add_done_callback(busy.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        for task in busy:
            task.cancel()


async def request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """One request: its head in lower case, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(
        int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")
    )
    return head, await reader.readexactly(length)


def saying(answer: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)
        await writer.drain()

    return script


def saying_for_ever(start: bytes, part: bytes, pause: float = 0) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def saying_at_once(words: bytes) -> Script:
    """It does not wait for a question, and then hears one out."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        await reader.read()

    return script


def saying_at_once_for_ever(start: bytes, part: bytes, pause: float = 0) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def post(url: str, seconds: float = PATIENCE, **headers: str) -> AttemptOutcome:
    async with WebhookSender(AddressGuard(LOOPBACK)) as sender:
        return await sender.post(url, headers, b"{}", seconds)


async def answered(script: Script, seconds: float = PATIENCE) -> Answered:
    async with listening(script) as url:
        attempt = await post(url, seconds)
    assert isinstance(attempt, Answered), attempt
    assert attempt.latency >= 0
    return attempt


async def failed(script: Script, seconds: float = PATIENCE) -> str:
    async with listening(script) as url:
        return reason(await post(url, seconds))


def reason(attempt: AttemptOutcome) -> str:
    assert isinstance(attempt, Failed), attempt
    assert attempt.detail.isprintable()
    assert len(attempt.detail) <= KEPT_DETAIL
    assert "hook" not in attempt.detail
    assert attempt.latency >= 0
    return attempt.reason
