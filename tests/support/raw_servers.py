"""HTTP and stream servers on real sockets that send exactly the bytes of a test, however wrong."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from service.kit.network.url_policy import parse_networks

LOOPBACK = parse_networks("127.0.0.0/8")
TIMEOUT = 30.0  # seconds; never waited for by a test that passes
SHORT_TIMEOUT = 0.3  # seconds, where the time-out itself is the subject

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@asynccontextmanager
async def scripted_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
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


@dataclass(frozen=True)
class RawRequest:
    """One request; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class RawServer:
    """Answers each request with the next of `answers`, and with the last one again and again.

    Bytes are sent as they are, and then the connection is kept; after a script it is closed.
    """

    answers: deque[bytes | Script]
    requests: list[RawRequest] = field(default_factory=list)
    connections: int = 0  # accepted so far
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            self.requests.append(await read_raw_request(reader))
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.popleft()
            if not isinstance(answer, bytes):
                await answer(reader, writer)
                break
            writer.write(answer)
            await writer.drain()


@asynccontextmanager
async def raw_server(answers: Iterable[bytes | Script]) -> AsyncIterator[RawServer]:
    """A RawServer on a free port."""
    server = RawServer(deque(answers))
    async with scripted_server(server.serve) as url:
        server.url = url.removesuffix("/hook")
        yield server


async def read_raw_request(reader: asyncio.StreamReader) -> RawRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return RawRequest(head[0], headers, body)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """One request: its head in lower case, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(
        int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")
    )
    return head, await reader.readexactly(length)


def respond(answer: bytes) -> Script:
    """Answers one request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return script


def respond_endlessly(start: bytes, part: bytes, pause: float = 0) -> Script:
    """Reads one request; sends `start`, then `part` again and again, `pause` seconds apart."""
    send = send_at_once_endlessly(start, part, pause)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await send(reader, writer)

    return script


def send_at_once(content: bytes) -> Script:
    """Sends without waiting for a request, then reads until the client closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        await reader.read()

    return script


def send_at_once_endlessly(start: bytes, part: bytes, pause: float = 0) -> Script:
    """Sends `start` without waiting for a request, then `part` again and again."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def never_respond(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def http_response(
    body: bytes = b"", status: int = 200, headers: str = "", length: int | None = None
) -> bytes:
    """A whole HTTP response; `headers` are lines that end in CRLF each, `length` is the
    Content-Length it states, None for the body's own."""
    stated = len(body) if length is None else length
    head = f"HTTP/1.1 {status} Some Reason\r\nContent-Length: {stated}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def envelope_response(
    code: int, message: str = "", data: object = None, status: int = 200, headers: str = ""
) -> bytes:
    """The provider's envelope as a whole HTTP answer."""
    body = {"code": code, "message": message, "request_id": "r1"}
    if data is not None:
        body["data"] = data
    return http_response(json.dumps(body).encode(), status, headers)
