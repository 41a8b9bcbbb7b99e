"""NATS JetStream: publishing, by docs.nats.io, "Client Protocol" and "JetStream wire API".

Written out here, as the published client dials whatever servers the first one names, keeps what a
server sends without limit, and sends credentials in the clear where a `tls://` server offers none.
"""

import asyncio
import re
import secrets
import ssl
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import orjson

from service.delivery.remote.stream_connection import (
    ProtocolError,
    ServerRefusal,
    StreamConnection,
    StreamMessage,
    StreamServer,
    decode_text,
)

MAX_PAYLOAD: Final = 1_048_576  # bytes of a message; the server's own default
SUBJECT: Final = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
HEADER_VALUE: Final = re.compile(r"[^\r\n\0]*")
# Of one subject alone; the connection stays good for the others.
PUBLISH_DENIED: Final = re.compile(r"permissions violation for publish to \"(.*)\"", re.IGNORECASE)
NO_STREAM: Final = "no stream takes this subject"


class NatsConnection(StreamConnection):
    """A connection to a NATS server. Acknowledgements come to an inbox of the connection's own,
    under a number for each publish."""

    implicit_tls = False

    def __init__(self) -> None:
        super().__init__()
        self._inbox = b"_INBOX." + secrets.token_hex(11).encode()
        self._numbers = count(1)
        self._pending: dict[bytes, tuple[str, asyncio.Future[bytes]]] = {}
        self._info = self._future()
        self._pong: asyncio.Future[bytes] | None = None
        self._max_payload = MAX_PAYLOAD

    async def publish(self, channel: str, message: StreamMessage) -> bytes:
        """Publish a message to the subject `channel`, and return the acknowledgement.

        That is `{"stream": …, "seq": …}`, with `"duplicate": true` where the stream already had the
        message's id.
        """
        await self._wait_writable()
        reply_number = b"%d" % next(self._numbers)
        command = self._encode_publish(channel, reply_number, message)
        future = self._future()
        self._pending[reply_number] = channel, future
        self._write(command)
        try:
            return _acknowledgement(await future)
        finally:
            del self._pending[reply_number]

    def _encode_publish(self, channel: str, reply_number: bytes, message: StreamMessage) -> bytes:
        if not SUBJECT.fullmatch(channel):
            raise ValueError("not a subject")
        headers = _encode_headers({**message.headers, "Nats-Msg-Id": message.id})
        size = len(headers) + len(message.body)
        if size > self._max_payload:
            raise ServerRefusal(f"the server takes messages of {self._max_payload} bytes at most")
        reply_to = b"%b.%b" % (self._inbox, reply_number)
        control = b"HPUB %b %b %d %d" % (channel.encode(), reply_to, len(headers), size)
        return b"%b\r\n%b%b\r\n" % (control, headers, message.body)

    async def sign_in(self, server: StreamServer, tls: ssl.SSLContext) -> None:
        """Read the server's INFO, go on under TLS if it is wanted, and send CONNECT."""
        info = _parse_object(await self._info)
        if server.encrypted or info.get("tls_required"):
            if not (info.get("tls_required") or info.get("tls_available")):
                raise ssl.SSLError("the server offers no TLS")
            await self._encrypt(server.host, tls)
        if not info.get("headers"):
            raise ServerRefusal("the server takes no headers, so it is older than NATS 2.2")
        if isinstance(info.get("max_payload"), int):
            self._max_payload = min(info["max_payload"], MAX_PAYLOAD)
        self._pong = self._future()
        self._write(b"CONNECT %b\r\n" % orjson.dumps(_connect_options(server)))
        self._write(b"SUB %b.* 1\r\nPING\r\n" % self._inbox)
        await self._pong

    def _read_reply(self) -> bool:
        line = self._peek_line()
        if line is None:
            return False
        operation, _, rest = line.partition(b" ")
        match operation.upper():
            case b"MSG":
                return self._read_message(line, rest.split(), headers=False)
            case b"HMSG":
                return self._read_message(line, rest.split(), headers=True)
            case other:
                self._drop_line(line)
                self._handle_control(other, rest)
        return True

    def _handle_control(self, operation: bytes, rest: bytes) -> None:
        match operation:
            case b"PING":
                self._write(b"PONG\r\n")
            case b"PONG" if self._pong is not None:
                self._resolve(self._pong, b"")
            case b"INFO":  # later ones only tell of other servers, which are not ours to dial
                if not self._info.done():
                    self._resolve(self._info, rest)
            case b"-ERR":
                self._handle_error(decode_text(rest).strip("'"))
            case b"+OK" | b"PONG":
                pass
            case _:
                raise ProtocolError("this is not NATS")

    def _handle_error(self, text: str) -> None:
        denied = PUBLISH_DENIED.match(text)
        if denied is None:
            raise ServerRefusal(text)
        for channel, future in self._pending.values():
            if channel == denied[1]:
                self._resolve(future, ServerRefusal(text))

    def _read_message(self, line: bytes, arguments: list[bytes], *, headers: bool) -> bool:
        """Take a message; whether it has come whole. Its arguments are
        `subject sid [reply-to] [size of headers] size`."""
        if len(arguments) not in ((4, 5) if headers else (3, 4)):
            raise ProtocolError("this is not a message")
        payload = self._read_payload(line, arguments[-1])
        if payload is None:
            return False
        answer = _reply_body(payload, arguments[-2]) if headers else payload
        reply_number = arguments[0].removeprefix(self._inbox + b".")
        if reply_number in self._pending:
            self._resolve(self._pending[reply_number][1], answer)
        return True


def _encode_headers(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not (HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value)):
            raise ValueError("not a header")
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["NATS/1.0", *lines, "", ""]).encode()


def _connect_options(server: StreamServer) -> dict[str, object]:
    """The options of CONNECT. Protocol 0: the server does not go on to tell of others."""
    options: dict[str, object] = {"verbose": False, "pedantic": False, "lang": "python"}
    options |= {"name": "callsheet", "version": "1", "protocol": 0, "echo": False}
    options |= {"headers": True, "no_responders": True}
    if server.username is not None:
        return options | {"user": server.username, "pass": server.password or ""}
    return options if server.password is None else options | {"auth_token": server.password}


def _reply_body(payload: bytes, size: bytes) -> bytes | ServerRefusal:
    """What follows the headers of this size; a refusal if their status is 503, no responders."""
    if not size.isdigit() or len(size) > len(payload):
        raise ProtocolError("the headers have no size that they could have")
    if payload.startswith(b"NATS/1.0 503"):
        return ServerRefusal(NO_STREAM)
    return payload[int(size) :]


def _acknowledgement(payload: bytes) -> bytes:
    """The acknowledgement as it came; ServerRefusal if it is an error instead."""
    answer = _parse_object(payload)
    error = answer.get("error")
    if isinstance(error, dict):
        raise ServerRefusal(str(error.get("description", "an error without a description")))
    if not isinstance(answer.get("stream"), str) or not isinstance(answer.get("seq"), int):
        raise ProtocolError("this is not an acknowledgement")
    return payload


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        read = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ProtocolError("this is not JSON") from None
    if not isinstance(read, dict):
        raise ProtocolError("this is not an object")
    return read
