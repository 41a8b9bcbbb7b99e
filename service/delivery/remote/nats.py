"""A publisher to NATS JetStream: docs.nats.io, "Client Protocol" and "JetStream wire API".

Written out here, as the published client dials whatever servers the first one names, keeps what a
server sends without bound, and sends credentials in the clear where a `tls://` server offers none.
"""

import asyncio
import re
import secrets
import ssl
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, Self

import orjson

from service.delivery.remote.stream_connection import (
    ConnectionClosed,
    ProtocolError,
    ServerRefusal,
    StreamConnection,
    StreamMessage,
    StreamServer,
    words,
)
from service.kit.network.ssrf_guard import AddressGuard

MAX_PAYLOAD: Final = 1_048_576  # bytes of a message; the server's own default
SUBJECT: Final = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
HEADER_VALUE: Final = re.compile(r"[^\r\n\0]*")
# The server may tell of one subject that we may not publish there; it leaves the rest alone.
DENIED: Final = re.compile(r"permissions violation for publish to \"(.*)\"", re.IGNORECASE)
NO_STREAM: Final = "no stream takes this subject"


class NatsConnection(StreamConnection):
    """Answers come to an inbox of the connection's own, by a number for each publish."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox = b"_INBOX." + secrets.token_hex(11).encode()
        self._numbers = count(1)
        self._waiting: dict[bytes, tuple[str, asyncio.Future[bytes]]] = {}
        self._greeting = self._future()
        self._pong: asyncio.Future[bytes] | None = None
        self._max_payload = MAX_PAYLOAD

    @classmethod
    async def open(cls, guard: AddressGuard, server: StreamServer, tls: ssl.SSLContext) -> Self:
        """A connection that the server has let in; the caller bounds the time.

        OSError, ConnectionClosed, ProtocolError or ServerRefusal if there is none.
        """
        connection = await guard.dial(cls, server.host, server.port)
        try:
            await connection._greet(server, tls)  # noqa: SLF001 - its own
        except BaseException:
            connection.end(ConnectionClosed())
            raise
        return connection

    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Publish a message to this subject, and return the acknowledgement.

        It is `{"stream": …, "seq": …}`, with `"duplicate": true` where the stream already had the
        message's id.
        """
        await self._writable()
        number = b"%d" % next(self._numbers)
        packet = self._packet(channel, number, message)
        future = self._future()
        self._waiting[number] = channel, future
        self._write(packet)
        try:
            return _receipt(await future)
        finally:
            del self._waiting[number]

    def _packet(self, channel: str, number: bytes, message: StreamMessage) -> bytes:
        if not SUBJECT.fullmatch(channel):
            raise ValueError("not a subject")
        head = _head({**message.headers, "Nats-Msg-Id": message.id})
        size = len(head) + len(message.body)
        if size > self._max_payload:
            raise ServerRefusal(f"it takes messages of {self._max_payload} bytes at most")
        control = b"HPUB %b %b.%b %d %d" % (channel.encode(), self._inbox, number, len(head), size)
        return b"%b\r\n%b%b\r\n" % (control, head, message.body)

    async def _greet(self, server: StreamServer, tls: ssl.SSLContext) -> None:
        info = _object(await self._greeting)
        if server.encrypted or info.get("tls_required"):
            if not (info.get("tls_required") or info.get("tls_available")):
                raise ssl.SSLError("the server offers no TLS")
            await self._encrypt(server.host, tls)
        if not info.get("headers"):
            raise ServerRefusal("it takes no headers, so it is older than NATS 2.2")
        if isinstance(info.get("max_payload"), int):
            self._max_payload = min(info["max_payload"], MAX_PAYLOAD)
        self._pong = self._future()
        self._write(b"CONNECT %b\r\n" % orjson.dumps(_hello(server)))
        self._write(b"SUB %b.* 1\r\nPING\r\n" % self._inbox)
        await self._pong

    def _take_reply(self) -> bool:
        line = self._line()
        if line is None:
            return False
        operation, _, rest = line.partition(b" ")
        match operation.upper():
            case b"MSG":
                return self._message_read(line, rest.split(), headers=False)
            case b"HMSG":
                return self._message_read(line, rest.split(), headers=True)
            case other:
                self._consume(line)
                self._spoken(other, rest)
        return True

    def _spoken(self, operation: bytes, rest: bytes) -> None:
        match operation:
            case b"PING":
                self._write(b"PONG\r\n")
            case b"PONG" if self._pong is not None:
                self._resolve(self._pong, b"")
            case b"INFO":  # later ones only tell of other servers, which are not ours to dial
                if not self._greeting.done():
                    self._resolve(self._greeting, rest)
            case b"-ERR":
                self._refused(words(rest).strip("'"))
            case b"+OK" | b"PONG":
                pass
            case _:
                raise ProtocolError("this is not NATS")

    def _refused(self, text: str) -> None:
        denied = DENIED.match(text)
        if denied is None:
            raise ServerRefusal(text)
        for channel, future in self._waiting.values():
            if channel == denied[1]:
                self._resolve(future, ServerRefusal(text))

    def _message_read(self, line: bytes, arguments: list[bytes], *, headers: bool) -> bool:
        """`subject sid [reply-to] [size of headers] size`"""
        if len(arguments) not in ((4, 5) if headers else (3, 4)):
            raise ProtocolError("this is not a message")
        payload = self._payload(line, arguments[-1])
        if payload is None:
            return False
        answer = _answer(payload, arguments[-2]) if headers else payload
        number = arguments[0].removeprefix(self._inbox + b".")
        if number in self._waiting:
            self._resolve(self._waiting[number][1], answer)
        return True


def _head(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not (HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value)):
            raise ValueError("not a header")
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["NATS/1.0", *lines, "", ""]).encode()


def _hello(server: StreamServer) -> dict[str, object]:
    """What CONNECT says. Protocol 0: the server does not go on to tell of others."""
    known: dict[str, object] = {"verbose": False, "pedantic": False, "lang": "python"}
    known |= {"name": "callsheet", "version": "1", "protocol": 0, "echo": False}
    known |= {"headers": True, "no_responders": True}
    if server.username is not None:
        return known | {"user": server.username, "pass": server.password or ""}
    return known if server.password is None else known | {"auth_token": server.password}


def _answer(payload: bytes, size: bytes) -> bytes | ServerRefusal:
    """What follows the headers, or what they say instead: 503, "no responders"."""
    if not size.isdigit() or len(size) > len(payload):
        raise ProtocolError("headers of no size they could have")
    if payload.startswith(b"NATS/1.0 503"):
        return ServerRefusal(NO_STREAM)
    return payload[int(size) :]


def _receipt(payload: bytes) -> bytes:
    answer = _object(payload)
    error = answer.get("error")
    if isinstance(error, dict):
        raise ServerRefusal(str(error.get("description", "an error without a description")))
    if not isinstance(answer.get("stream"), str) or not isinstance(answer.get("seq"), int):
        raise ProtocolError("this is not an acknowledgement")
    return payload


def _object(raw: bytes) -> dict[str, Any]:
    try:
        read = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ProtocolError("this is not JSON") from None
    if not isinstance(read, dict):
        raise ProtocolError("this is not an object")
    return read
