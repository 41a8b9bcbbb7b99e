"""One connection to the server of a stream, shared by the publishes that are under way.

A server is somebody else's: however much it says, little of it is kept, and whatever it says
comes out as one of the three errors below.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

MAX_LINE: Final = 65_536  # bytes; a NATS server in a large cluster names all others in its INFO
MAX_REPLY: Final = 8192  # bytes; an acknowledgement is a line
MAX_UNASKED: Final = 65_536  # bytes between two answers that somebody waits for


class ConnectionClosed(Exception):
    """The connection is over, and no answer came."""


class ProtocolError(Exception):
    """This is not what such a server says, or it is too much of it."""


class ServerRefusal(Exception):
    """The server will not; in its own words, which are for people."""


@dataclass(frozen=True, slots=True)
class StreamServer:
    """A server, and who we are to it; `database` is Redis's."""

    scheme: str
    host: str
    port: int
    database: int
    username: str | None
    password: str | None = field(repr=False)

    @property
    def encrypted(self) -> bool:
        return self.scheme in {"tls", "rediss"}


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """What is published: `headers` go beside the exact bytes of `body`."""

    id: str
    type: str
    headers: Mapping[str, str]
    body: bytes


class StreamConnection(asyncio.Protocol, ABC):
    """`spent`: nothing new should be published here, though what is under way may still end well.

    `broken` is why the connection is over, or None.
    """

    def __init__(self) -> None:
        self.spent = False
        self.broken: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._unasked = 0
        self._outgoing: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._promises: set[asyncio.Future[bytes]] = set()

    @abstractmethod
    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Where the server says that it has it. Ended, Garbled or Refusal; ValueError if this
        cannot be said to such a server; without end if the server says nothing."""

    @abstractmethod
    def _one(self) -> bool:
        """Take one message from what is unread, if one is whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._unasked += len(data)
        try:
            while self.broken is None and self._one():
                pass
        except (ProtocolError, ServerRefusal) as error:
            self.end(error)
        if self._unasked > MAX_UNASKED:
            self.end(ProtocolError("it says too much"))

    def connection_lost(self, _: Exception | None) -> None:
        self.end(ConnectionClosed())

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def end(self, error: Exception) -> None:
        """Close at once; all that waits for an answer gets this error."""
        if self.broken is not None:
            return
        self.broken = error
        self._unread.clear()
        self._room.set()
        for promise in tuple(self._promises):
            _fail(promise, error)
        if self._transport is not None:
            self._transport.abort()

    async def _encrypt(self, host: str, tls: ssl.SSLContext) -> None:
        """Go on under TLS. What came before must not be taken for what comes under it."""
        if self._unread:
            raise ProtocolError("it speaks before TLS")
        if self._transport is not None:
            self._transport = await self._loop.start_tls(
                self._transport, self, tls, server_hostname=host
            )

    async def _writable(self) -> None:
        """Wait until the server reads on."""
        await self._room.wait()
        if self.broken is not None:
            raise self.broken

    def _write(self, data: bytes) -> None:
        """Together with all that is written before the loop turns."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)

    def _flush(self) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        if self.broken is None and self._transport is not None:
            self._transport.write(data)

    def _promise(self) -> asyncio.Future[bytes]:
        """An answer that will come, or the error that ends the connection."""
        promise: asyncio.Future[bytes] = self._loop.create_future()
        if self.broken is not None:
            _fail(promise, self.broken)
            return promise
        self._promises.add(promise)
        promise.add_done_callback(self._promises.discard)
        return promise

    def _keep(self, promise: asyncio.Future[bytes], answer: bytes | Exception) -> None:
        self._unasked = 0
        if promise.done():  # whoever waited has given up
            return
        if isinstance(answer, Exception):
            _fail(promise, answer)
        else:
            promise.set_result(answer)

    def _line(self) -> bytes | None:
        """The next line, without its end and still unread; None if it is not whole yet."""
        end = self._unread.find(b"\r\n")
        if end > MAX_LINE or (end < 0 and len(self._unread) > MAX_LINE):
            raise ProtocolError("a line without end")
        return None if end < 0 else bytes(self._unread[:end])

    def _payload(self, line: bytes, size: bytes) -> bytes | None:
        """The so many bytes that follow this line; then both are read. None if not all are here."""
        if not size.isdigit() or len(size) > len(str(MAX_REPLY)) or int(size) > MAX_REPLY:
            raise ProtocolError("an answer of no size it could have")
        start = len(line) + 2
        end = start + int(size)
        if len(self._unread) < end + 2:
            return None
        payload = bytes(self._unread[start:end])
        if self._unread[end : end + 2] != b"\r\n":
            raise ProtocolError("an answer of another size than it said")
        del self._unread[: end + 2]
        return payload

    def _read(self, line: bytes) -> None:
        del self._unread[: len(line) + 2]


def _fail(promise: asyncio.Future[bytes], error: Exception) -> None:
    if not promise.done():
        promise.set_exception(error)
        promise.exception()  # seen, though nobody may be waiting any more


def words(raw: bytes) -> str:
    """What a server said, as text."""
    return raw.decode("utf-8", "replace").strip()
