"""A web server as production has it, and readers of event streams on bare sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
import uvicorn

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.app import build
from service.kit.database import listen
from service.kit.http.connection_limits import BoundedHttpProtocol
from service.resources import Resources
from service.subjects.domain.subject import Subject
from service.subjects.store.events import NOTIFY_CHANNEL
from tests.support.database import fetch
from tests.support.subjects import add_committed_subject

TIMEOUT = 10.0  # seconds until what must come has come


@dataclass
class WebServer:
    """The web application behind a server in this process."""

    port: int
    app: Any = field(repr=False)


@asynccontextmanager
async def web_server(resources: Resources) -> AsyncIterator[WebServer]:
    """The web application on a free port, with the shutdown of production."""
    app = build(resources)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=BoundedHttpProtocol, log_config=None
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield WebServer(server.servers[0].sockets[0].getsockname()[1], app)
    finally:
        app.state.hub.close()
        server.config.timeout_graceful_shutdown = 5
        await server.shutdown()


@dataclass
class SSEFrame:
    """One server-sent event."""

    id: str
    type: str
    data: dict[str, Any]


class SSEReader:
    """A reader of one open event stream."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        fields = [line.split(": ", 1) for line in lines[1:] if line]
        self.headers = {name.lower(): value for name, value in fields}
        self.retry = 0
        self.last_id = ""
        self.comments = 0
        self._left = b""
        self._frames: list[SSEFrame] = []

    async def frame(self) -> SSEFrame:
        """The next event; EOFError at the end."""
        async with asyncio.timeout(TIMEOUT):
            while not self._frames:
                await self.chunk()
            return self._frames.pop(0)

    async def frames(self, count: int) -> list[SSEFrame]:
        return [await self.frame() for _ in range(count)]

    async def rest(self) -> list[SSEFrame]:
        """All events until the stream ends."""
        frames: list[SSEFrame] = []
        with suppress(EOFError, ConnectionError):
            while True:
                frames.append(await self.frame())
        return frames

    async def chunk(self) -> None:
        """Read one chunk of the body; EOFError at its end."""
        try:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            body = (await self._reader.readexactly(size + 2))[:-2]
        except asyncio.IncompleteReadError:
            raise EOFError from None
        if not size:
            raise EOFError
        *blocks, self._left = (self._left + body).split(b"\n\n")
        for block in blocks:
            self._frames += self._read(block)

    def _read(self, block: bytes) -> Iterator[SSEFrame]:
        """Parse a block as the HTML standard says: an id counts even without data."""
        fields: dict[str, str] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            assert name not in fields, "one line each"
            fields[name] = value.removeprefix(" ")
        self.comments += "" in fields
        self.retry = int(fields.get("retry", self.retry))
        self.last_id = fields.get("id", self.last_id)
        if "data" in fields:
            yield SSEFrame(self.last_id, fields["event"], orjson.loads(fields["data"]))

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def open_stream(
    port: int, path: str, key: str, *, narrow: bool = False, **headers: str
) -> AsyncIterator[SSEReader]:
    """Open a stream, and read its head; `narrow` shrinks the buffers on the way."""
    connection = socket.socket()
    if narrow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)  # noqa: FBT003 - the standard library's
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(
        sock=connection, limit=1024 if narrow else 65_536
    )
    given = {"host": "x", "accept": "text/event-stream", "authorization": f"Bearer {key}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    try:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await reader.readexactly(1)
        yield SSEReader(reader, writer, head[:-4])
    finally:
        writer.close()


LISTEN_SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = $1 AND datname = current_database()
"""


@dataclass
class FeedApi:
    """An account, its key, and a server of the web application."""

    resources: Resources
    account: str
    key: str
    web: WebServer

    def stream(
        self, path: str = "/v1/events", *, narrow: bool = False, **headers: str
    ) -> AbstractAsyncContextManager[SSEReader]:
        return open_stream(self.web.port, path, self.key, narrow=narrow, **headers)

    async def add_subjects(self, count: int = 1) -> list[Subject]:
        return [await add_committed_subject(self.resources, self.account) for _ in range(count)]

    async def get(self, path: str, **params: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            url = f"http://127.0.0.1:{self.web.port}{path}"
            return await http.get(url, params=params, headers=headers)

    async def is_listening(self) -> bool:
        """Whether the server listens for notifications of Postgres."""
        return bool(
            await fetch(self.resources, LISTEN_SESSIONS, listen.session_name(NOTIFY_CHANNEL))
        )

    def reader_count(self) -> int:
        """Number of streams and long polls that are open."""
        return len(list(self.web.app.state.hub.readers()))


@asynccontextmanager
async def feed_api(resources: Resources, account: str) -> AsyncIterator[FeedApi]:
    key = await api_keys.create(resources, "acme", DEFAULT_SCOPES)
    async with web_server(resources) as server:
        yield FeedApi(resources, account, key, server)


async def of_operator(world: FeedApi) -> FeedApi:
    """The same server, called by an operator of an account that has nothing."""
    key = await api_keys.create(world.resources, "operations", ["operator"])
    return replace(world, key=key)


async def another_account(resources: Resources) -> str:
    """The id of another account."""
    await api_keys.create(resources, "other", DEFAULT_SCOPES)
    (row,) = await fetch(resources, "SELECT id FROM accounts WHERE name = 'other'")
    return str(row["id"])


def oldest_of(answer: httpx.Response) -> str:
    """Where a 410 says to go on from."""
    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    oldest: str = answer.json()["oldest"]
    return oldest


def subject_ids(frames: Sequence[SSEFrame]) -> list[str]:
    """The subject of each frame."""
    return [frame.data["data"]["id"] for frame in frames]
