"""A server on a real socket that answers with exactly the bytes it was given, however wrong."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """Takes one answer after the other from `answers`, the last one again and again.

    Bytes are sent as they are, and then the connection is kept; a script does as it likes, and
    then the connection is closed.
    """

    answers: deque[bytes | Script]
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await received(reader))
                answer = self.answers[0] if len(self.answers) == 1 else self.answers.popleft()
                if not isinstance(answer, bytes):
                    await answer(reader, writer)
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()


async def received(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0], headers, body)


@asynccontextmanager
async def wire(answers: Iterable[bytes | Script]) -> AsyncIterator[Wire]:
    """A Wire on a free port, closed with all its connections at the end."""
    served = Wire(deque(answers))
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await served.serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plain(body: bytes, status: int = 200, headers: str = "") -> bytes:
    """A whole HTTP answer; `headers` are lines that each end in CRLF."""
    head = f"HTTP/1.1 {status} Some Reason\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def envelope(
    code: int, message: str = "", data: object = None, status: int = 200, headers: str = ""
) -> bytes:
    """The provider's envelope as a whole HTTP answer."""
    body = {"code": code, "message": message, "request_id": "r1"}
    if data is not None:
        body["data"] = data
    return plain(json.dumps(body).encode(), status, headers)
