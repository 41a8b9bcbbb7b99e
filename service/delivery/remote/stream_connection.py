"""A connection to the server of a stream, shared by the publishes that are under way.

A server is somebody else's: however much it sends, little of it is kept, and whatever goes wrong
comes out as one of the three errors below.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, cast

from service.kit.network.ssrf_guard import AddressGuard

MAX_LINE: Final = 65_536  # bytes; a NATS server in a large cluster names all others in its INFO
MAX_REPLY: Final = 8192  # bytes; an acknowledgement is a line
MAX_UNSOLICITED: Final = 65_536  # bytes between two answers that somebody waits for


class ConnectionClosed(Exception):
    """The connection ended before an answer came."""


class ProtocolError(Exception):
    """The server sent what its protocol does not allow, or too much."""


class ServerRefusal(Exception):
    """The server refuses a message, or us; the text is its own, for people."""


@dataclass(frozen=True, slots=True)
class StreamServer:
    """The server of a stream, and the credentials that it is given."""

    scheme: str  # nats, tls, redis or rediss
    host: str  # a name or an address
    port: int  # of TCP
    database: int  # number of a Redis database; 0 for NATS
    username: str | None  # None if there is none, or a token instead
    password: str | None = field(repr=False)  # a token if there is no username; None if neither

    @property
    def encrypted(self) -> bool:
        """Whether the URL's scheme asks for TLS."""
        return self.scheme in {"tls", "rediss"}


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """A message as it is published."""

    id: str  # the event's, by which a repetition is known
    type: str  # the event's
    headers: Mapping[str, str]  # with the signatures
    body: bytes  # the exact bytes that are signed


class StreamConnection(asyncio.Protocol, ABC):
    """A connection over which many publishes may be under way."""

    implicit_tls: ClassVar[bool]  # whether TLS begins before the protocol, or by a message of it

    def __init__(self) -> None:
        self.draining = False  # what is under way may still end well; nothing new is published
        self.closed_by: Exception | None = None  # None while the connection is open
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._unsolicited = 0
        self._write_buffer: list[bytes] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._futures: set[asyncio.Future[bytes]] = set()

    @classmethod
    async def open(cls, guard: AddressGuard, server: StreamServer, tls: ssl.SSLContext) -> Self:
        """A connection after sign-in; the caller bounds the time.

        OSError, ConnectionClosed, ProtocolError or ServerRefusal if there is none.
        """
        tls_at_once = tls if cls.implicit_tls and server.encrypted else None
        connection = await guard.dial(cls, server.host, server.port, tls_at_once)
        try:
            await connection.sign_in(server, tls)
        except BaseException:
            connection.close(ConnectionClosed())
            raise
        return connection

    @abstractmethod
    async def sign_in(self, server: StreamServer, tls: ssl.SSLContext) -> None:
        """Sign in; under TLS from here on, if the server is encrypted and `implicit_tls` is not."""

    @abstractmethod
    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Publish a message on this channel, and return the server's acknowledgement.

        ConnectionClosed, ProtocolError or ServerRefusal if there is none; ValueError if the channel
        or a header cannot be written in the server's protocol. The caller bounds the time.
        """

    @abstractmethod
    def _read_reply(self) -> bool:
        """Take one reply from the buffer; whether there was a whole one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._unsolicited += len(data)
        try:
            while self.closed_by is None and self._read_reply():
                pass
        except (ProtocolError, ServerRefusal) as error:
            self.close(error)
        if self._unsolicited > MAX_UNSOLICITED:
            self.close(ProtocolError("the server sends too much that nobody asked for"))

    def connection_lost(self, _: Exception | None) -> None:
        self.close(ConnectionClosed())

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def close(self, error: Exception) -> None:
        """Close at once; whoever waits for an answer gets this error."""
        if self.closed_by is not None:
            return
        self.closed_by = error
        self._buffer.clear()
        self._may_write.set()
        for future in tuple(self._futures):
            _fail(future, error)
        if self._transport is not None:
            self._transport.abort()

    async def _encrypt(self, host: str, tls: ssl.SSLContext) -> None:
        """Go on under TLS. Bytes that came before must not be taken for bytes under it."""
        if self._buffer:
            raise ProtocolError("the server sent something before TLS")
        if self._transport is not None:
            self._transport = await self._loop.start_tls(
                self._transport, self, tls, server_hostname=host
            )

    async def _wait_writable(self) -> None:
        """Wait until the server reads on; raise what closed the connection."""
        await self._may_write.wait()
        if self.closed_by is not None:
            raise self.closed_by

    def _write(self, data: bytes) -> None:
        """Send this together with all that is written in the same turn of the event loop."""
        if not self._write_buffer:
            self._loop.call_soon(self._flush)
        self._write_buffer.append(data)

    def _flush(self) -> None:
        data = b"".join(self._write_buffer)
        self._write_buffer.clear()
        if self.closed_by is None and self._transport is not None:
            self._transport.write(data)

    def _future(self) -> asyncio.Future[bytes]:
        """A future for an answer, or for the error that ends the connection."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        if self.closed_by is not None:
            _fail(future, self.closed_by)
            return future
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def _resolve(self, future: asyncio.Future[bytes], answer: bytes | Exception) -> None:
        self._unsolicited = 0
        if isinstance(answer, Exception):
            _fail(future, answer)
        elif not future.done():  # else nobody waits for it any more
            future.set_result(answer)

    def _peek_line(self) -> bytes | None:
        """The next line, without its end; it stays in the buffer. None if it is not whole yet."""
        end = self._buffer.find(b"\r\n")
        if end > MAX_LINE or (end < 0 and len(self._buffer) > MAX_LINE):
            raise ProtocolError("a line is too long")
        return None if end < 0 else bytes(self._buffer[:end])

    def _read_payload(self, line: bytes, size: bytes) -> bytes | None:
        """Take this line and the `size` bytes that follow it from the buffer, and return
        these; None if not all have come."""
        if not size.isdigit() or len(size) > len(str(MAX_REPLY)) or int(size) > MAX_REPLY:
            raise ProtocolError("an answer has no size that it could have")
        start = len(line) + 2
        end = start + int(size)
        if len(self._buffer) < end + 2:
            return None
        payload = bytes(self._buffer[start:end])
        if self._buffer[end : end + 2] != b"\r\n":
            raise ProtocolError("an answer has another size than it says")
        del self._buffer[: end + 2]
        return payload

    def _drop_line(self, line: bytes) -> None:
        del self._buffer[: len(line) + 2]


def _fail(future: asyncio.Future[bytes], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # else asyncio would log it if nobody is left to retrieve it


def decode_text(raw: bytes) -> str:
    """A server's text, with what is not UTF-8 replaced, and without white space around it."""
    return raw.decode("utf-8", "replace").strip()
