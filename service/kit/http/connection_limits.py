"""Limits of an HTTP/1.1 connection: size of a request's head, time for head and body (slowloris),
and time for a client to read what is sent to it.

uvicorn has none of them: it would keep all of a head that never ends, and wait for a slow request
for ever. Here too a head is refused that `headers.framing_error` refuses.
"""

import asyncio
import socket
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.kit.http.headers import framing_error

MAX_HEAD = 65_536  # bytes of request line and headers, beside the piece that they begin in
HEAD_SECONDS = 15.0  # from the connection, or the head's first byte, to its end
BODY_SECONDS = 60.0  # from there to the end of the body
UNREAD_SECONDS = 20.0  # until a client is cut off that does not read what is sent to it
STREAM_SOCKET_BUFFER = 32_768  # bytes in the system for one client of a stream; Linux doubles it
STREAM_WRITE_BUFFER = 16_384  # bytes in this process that wait for the system to take them
CONNECTION_KEY = "connection"  # of the BoundedHttpProtocol in the state of its scopes
BLANKS = b" \t"  # around a value and not part of it: RFC 9112, section 5.1


class UpgradeIgnoringParser(HttpRequestParser):
    """A parser that ignores Upgrade, as a server may (RFC 9110, section 7.8); Java clients send it
    by default. httptools by itself takes it for accepted: it ends the request behind the head, and
    would read the body as another request."""

    def __init__(self, protocol: "BoundedHttpProtocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:  # noqa: ANN401 - as httptools has it: any bytes
        """Parse these bytes; HttpParserError if they are not HTTP."""
        while True:
            try:
                super().feed_data(data)
            except HttpParserUpgrade as upgrade:
                super().feed_data(self._protocol.take_head_without_upgrade())
                data = memoryview(data)[upgrade.args[0] :]
            else:
                return


class BoundedHttpProtocol(HttpToolsProtocol):
    """A connection that is closed when its client goes beyond a limit.

    Most requests come whole in one piece, so a timer is started only when something is left to wait
    for behind a piece.
    """

    _timeout: float | None = HEAD_SECONDS  # seconds for what is expected; None if nothing is
    _parts = 0  # count of heads and bodies, to tell one from the next
    _reading_head = True
    _head_bytes = 0
    _head_error: str | None = None  # why the request is refused that is being read
    _head_without_upgrade: bytes | None = None  # the head in the parser, with Upgrade hidden
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self.parser = UpgradeIgnoringParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEAD_SECONDS, head=True)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._stop_unread_timer()
        super().connection_lost(exc)
        if self.scope is not None:
            # It refers back here, and the garbage collector runs seldom.
            self.scope["state"].pop(CONNECTION_KEY, None)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.abort)

    def resume_writing(self) -> None:
        self._stop_unread_timer()
        super().resume_writing()

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    @property
    def stalled(self) -> bool:
        """Whether the client does not read what is sent to it."""
        return self.flow.write_paused

    def abort(self) -> None:
        """Close the connection at once, and drop what the client has not read."""
        self.transport.abort()

    def shrink_buffers(self) -> None:
        """Buffer little for this client: the system would keep megabytes for each that stalls."""
        self.transport.set_write_buffer_limits(STREAM_WRITE_BUFFER)
        connected = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_SOCKET_BUFFER)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect(HEAD_SECONDS, head=True)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are not merged with the headers: RFC 9110, section 6.5.1.
        if self._reading_head:
            super().on_header(name, value.strip(BLANKS))

    def on_headers_complete(self) -> None:
        self._head_error = framing_error(self.parser.get_http_version(), self.headers)
        if self._head_error is not None:
            raise HttpParserError(self._head_error)  # ends the parser, and sends the 400
        if self.parser.should_upgrade():
            self._head_without_upgrade = self._make_head_without_upgrade()
            return
        self._expect(BODY_SECONDS)
        self.scope["state"][CONNECTION_KEY] = self
        super().on_headers_complete()

    def _make_head_without_upgrade(self) -> bytes:
        """The head that was just read, with Upgrade under another name; it is parsed once more."""
        method = self.parser.get_method()
        if method == b"CONNECT":  # an upgrade without the header
            raise HttpParserError("This server is no proxy.")
        version = self.parser.get_http_version().encode()
        lines = [method + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            new_name = b"x-upgrade" if name == b"upgrade" else name
            lines.append(new_name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def take_head_without_upgrade(self) -> bytes:
        """The head to parse in place of one with Upgrade."""
        head, self._head_without_upgrade = self._head_without_upgrade, None
        assert head is not None  # noqa: S101 - the parser asks only behind such a head
        return head

    def on_message_complete(self) -> None:
        if self._head_without_upgrade is not None:
            return
        self._expect(None)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self._head_error or msg)

    def data_received(self, data: bytes) -> None:
        parts = self._parts
        super().data_received(data)
        if self._reading_head and parts == self._parts:  # all of it belongs to one head
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("The head of this request is too large.")
        if self._timeout is not None and self._timer is None:
            self._start_timer()

    def _expect(self, timeout: float | None, *, head: bool = False) -> None:
        """Begin with the next part of a request, which has `timeout` seconds; None: nothing is
        expected."""
        self._timeout, self._reading_head, self._head_bytes = timeout, head, 0
        self._parts += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        if self._timeout is not None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self._timeout, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timer = None
        answering = not getattr(self.cycle, "response_complete", True)
        if self.pipeline or (self._reading_head and answering):
            self._start_timer()  # pipelined: it is not read on until an earlier response is sent
        elif answering and not self.cycle.response_started:
            self.send_400_response("The body of this request did not come in time.")
        else:
            self.transport.close()
