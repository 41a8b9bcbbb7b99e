"""Subscribers of every temper: real servers, which remember all that came and how they took it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import orjson
from standardwebhooks import Webhook, WebhookVerificationError

HOST = "127.0.0.1"
ABORTING = struct.pack("ii", 1, 0)  # SO_LINGER for no time: closing then resets the connection
BYTE_INTERVAL = 0.1  # seconds between two bytes
ANSWER_DELAY = 0.2  # seconds until an answer that takes long
LARGE_PIECE = b"more " * 20_000


@dataclass(frozen=True, slots=True)
class Behavior:
    """How one request is treated: what is said at once, and what is done then; `accepts`, if that
    is a 2xx. What is done tells whether another request is heard out."""

    says: bytes
    then: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
    accepts: bool = False


async def _keep_open(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await writer.drain()
    return True


async def _answer_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(ANSWER_DELAY)
    writer.write(ACCEPT.says)
    return True


async def _close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await writer.drain()
    return False


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTING)
    writer.transport.abort()
    return False


async def _hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> bool:
    await reader.read()
    return False


async def _trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    while True:
        await asyncio.sleep(BYTE_INTERVAL)
        writer.write(b".")
        await writer.drain()


async def _pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    while True:
        writer.write(LARGE_PIECE)
        await writer.drain()


def respond_with(status: int, *fields: str) -> Behavior:
    lines = [f"HTTP/1.1 {status} Said", "content-length: 0", *fields, "", ""]
    return Behavior("\r\n".join(lines).encode(), _keep_open, accepts=200 <= status < 300)


ACCEPT = respond_with(204)
ACCEPT_LATE = Behavior(b"", _answer_late, accepts=True)  # done at once, but said so later
FAIL = respond_with(500)
TOO_MANY = respond_with(429, "retry-after: 1")
UNAVAILABLE = respond_with(503, "retry-after: 1")
GONE = respond_with(410)
ELSEWHERE = respond_with(307, "location: /elsewhere")
HANG = Behavior(b"", _hang)
RESET = Behavior(b"", _reset)
BREAK_OFF = Behavior(b"HTTP/1.1 20", _close)
TRICKLE_HEAD = Behavior(b"HTTP/1.1 200 OK\r\nslow: ", _trickle)
# With the status it is accepted, whatever becomes of the rest.
TRICKLE_BODY = Behavior(
    b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", _trickle, accepts=True
)
ENDLESS = Behavior(b"HTTP/1.1 200 OK\r\n\r\n", _pour, accepts=True)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One attempt, as it came; `at` in seconds of `monotonic`. `subject_id` is None for what is
    about a subscriber. `genuine` as the published verifier says."""

    event_id: str
    type: str
    subject_id: str | None
    sequence: int
    path: str
    body: bytes
    at: float
    accepted: bool
    genuine: bool


class Subscriber:
    """`fields` are the fields it subscribes with. It treats each request in the next of its
    `behaviors`, until it is `calm`: then it accepts all."""

    def __init__(self, name: str, behaviors: Iterator[Behavior], **fields: object) -> None:
        self.name = name
        self.fields = fields
        self.id = self.secret = ""
        self.calm = False
        self.arrivals: list[Arrival] = []
        self._manners = behaviors
        self._port = 0
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/hook"

    @property
    def accepted(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.accepted]

    async def open(self) -> None:
        """At the port it had before, if it had one."""
        self._server = await asyncio.start_server(self._accept_connection, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Nobody listens any more, and who is connected is cut off."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy)

    def _accept_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._handle_request(reader, writer):
                pass
        writer.transport.abort()

    async def _handle_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        exact = dict(line.split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(fields["content-length"]))
        behavior = ACCEPT if self.calm else next(self._manners)
        self.arrivals.append(self._arrival(first.split()[1], exact, body, behavior))
        writer.write(behavior.says)
        return await behavior.then(reader, writer)

    def _arrival(
        self, path: str, fields: dict[str, str], body: bytes, behavior: Behavior
    ) -> Arrival:
        event = orjson.loads(body)
        return Arrival(
            event_id=fields["webhook-id"],
            type=event["type"],
            subject_id=event["data"].get("id"),
            sequence=event["data"]["sequence"],
            path=path,
            body=body,
            at=monotonic(),
            accepted=behavior.accepts,
            genuine=_verifies(self.secret, body, fields),
        )


def _verifies(secret: str, body: bytes, fields: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, fields, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def too_early(arrivals: Iterable[Arrival]) -> list[tuple[str, bool]]:
    """What came before the event before it, of the same subject, had been accepted; and whether it
    was accepted itself."""
    accepted: set[tuple[str | None, int]] = set()
    early = []
    for arrival in arrivals:
        if arrival.sequence > 1 and (arrival.subject_id, arrival.sequence - 1) not in accepted:
            early.append((arrival.event_id, arrival.accepted))
        if arrival.accepted:
            accepted.add((arrival.subject_id, arrival.sequence))
    return early
