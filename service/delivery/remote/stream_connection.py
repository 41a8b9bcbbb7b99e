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
    """The connection ended before an answer came."""


class ProtocolError(Exception):
    """The server said what such a server does not say, or too much of it."""


class ServerRefusal(Exception):
    """The server will not take a message, or us; in its own words, which are for people."""


@dataclass(frozen=True, slots=True)
class StreamServer:
    """The server of a stream, and who we are to it."""

    scheme: str
    """nats, tls, redis or rediss."""
    host: str
    port: int
    database: int
    """The number of a Redis database; 0 for NATS."""
    username: str | None
    password: str | None = field(repr=False)
    """A password, or a token if there is no user's name."""

    @property
    def encrypted(self) -> bool:
        return self.scheme in {"tls", "rediss"}


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """A message as it is published."""

    id: str
    """The event's id, by which a repetition is known."""
    type: str
    """The event's type."""
    headers: Mapping[str, str]
    body: bytes
    """The exact bytes that the headers sign."""


class StreamConnection(asyncio.Protocol, ABC):
    """A connection over which many publishes may be under way."""

    def __init__(self) -> None:
        # Nothing new should be published here, though what is under way may still end well.
        self.spent = False
        # Why the connection is over; None while it is not.
        self.broken: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._unasked = 0
        self._outgoing: list[bytes] = []
        self._writable_again = asyncio.Event()
        self._writable_again.set()
        self._futures: set[asyncio.Future[bytes]] = set()

    @abstractmethod
    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Publish a message, and return where the server says that it has it.

        ConnectionClosed, ProtocolError or ServerRefusal if it has not; ValueError if this cannot be
        said to such a server. It waits without end if the server says nothing.
        """

    @abstractmethod
    def _take_reply(self) -> bool:
        """Take one reply from what is unread; whether there was a whole one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._unasked += len(data)
        try:
            while self.broken is None and self._take_reply():
                pass
        except (ProtocolError, ServerRefusal) as error:
            self.end(error)
        if self._unasked > MAX_UNASKED:
            self.end(ProtocolError("it says too much"))

    def connection_lost(self, _: Exception | None) -> None:
        self.end(ConnectionClosed())

    def pause_writing(self) -> None:
        self._writable_again.clear()

    def resume_writing(self) -> None:
        self._writable_again.set()

    def end(self, error: Exception) -> None:
        """Close at once; all that waits for an answer gets this error."""
        if self.broken is not None:
            return
        self.broken = error
        self._unread.clear()
        self._writable_again.set()
        for future in tuple(self._futures):
            _fail(future, error)
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
        await self._writable_again.wait()
        if self.broken is not None:
            raise self.broken

    def _write(self, data: bytes) -> None:
        """Send this together with all that is written before the loop turns."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)

    def _flush(self) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        if self.broken is None and self._transport is not None:
            self._transport.write(data)

    def _future(self) -> asyncio.Future[bytes]:
        """A future for an answer, or for the error that ends the connection."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        if self.broken is not None:
            _fail(future, self.broken)
            return future
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def _resolve(self, future: asyncio.Future[bytes], answer: bytes | Exception) -> None:
        self._unasked = 0
        if future.done():  # whoever waited has given up
            return
        if isinstance(answer, Exception):
            _fail(future, answer)
        else:
            future.set_result(answer)

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

    def _consume(self, line: bytes) -> None:
        del self._unread[: len(line) + 2]


def _fail(future: asyncio.Future[bytes], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen, though nobody may be waiting any more


def words(raw: bytes) -> str:
    """What a server said, as text."""
    return raw.decode("utf-8", "replace").strip()
