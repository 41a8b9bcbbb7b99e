"""An HTTP client for servers whose responses may be malformed, or endless.

A status that has come counts, whatever else is malformed. So aiohttp's parser is given a head whole
and by itself: an error behind it does not lose the status. Of a head that the parser cannot read,
the status and the fields that make sense are taken, and no body.

aiohttp reads interim responses (1xx) for as long as they come, and keeps each until it is read: a
flood of them would stop the event loop for everybody. They are dropped here. So would bodies in
chunks of one byte with long chunk extensions, which count towards no bound of aiohttp's.
"""

import re
from asyncio import AbstractEventLoop
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, cast

from aiohttp import ClientPayloadError, HttpVersion11, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

MAX_HEAD: Final = 65_536  # bytes before the body begins, interim responses included
MAX_FRAMING_BYTES: Final = 262_144  # of chunks, beside as many bytes as the body has itself

# RFC 9112, 2.2: a line feed alone may end a line.
_HEAD_END: Final = re.compile(rb"(\n\r?\n)[\r\n]*")
_HTTP_PREFIX: Final = b"HTTP/"
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r\n]")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: ([^\r\n]*))?\r?\n")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.1

# Arguments of ClientSession: its own bounds on a head, so wide that MAX_HEAD alone counts.
HEAD_LIMITS: Final[Mapping[str, Any]] = MappingProxyType(
    dict.fromkeys(("max_line_size", "max_field_size", "max_headers"), MAX_HEAD)
)


class UnreadableAnswer(ClientPayloadError):
    """The body of a response cannot be told from its framing."""


class BoundedResponseHandler(ResponseHandler):
    """Takes one response to each request; one that is malformed or too long ends the connection."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._awaited = False  # whether a response is expected that has not been handed on
        self._head = bytearray()  # of the response, as far as it has come
        self._head_bytes = self._body_bytes = 0

    def set_response_params(self, **parameters: Any) -> None:  # noqa: ANN401 - passed on as they are
        self._awaited = True
        self._head.clear()
        self._head_bytes = self._body_bytes = 0
        super().set_response_params(**parameters)

    def data_received(self, data: bytes) -> None:
        if not data or self._parser is None or self._upgraded:
            super().data_received(data)
        elif self._payload is not None and not self._payload.is_eof():
            self._body_received(data, self._payload)
        elif self._awaited:
            self._head_received(data)
        else:
            self._end()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Hand on a response; a second one ends the connection, as the next request would take it
        for its own."""
        if self._awaited:
            self._awaited = False
            super().feed_data(data, size)
        else:
            self._end()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the request, but not for a head that cannot be parsed and has a status."""
        message = None
        if self._awaited and isinstance(exc, HttpProcessingError):
            message = _salvage_head(bytes(self._head))
        if message is None:
            super().set_exception(exc, *cause)
            return
        body = StreamReader(self, limit=1, loop=self._loop)
        body.set_exception(UnreadableAnswer("the head is odd"))
        self._should_close = True
        self.feed_data((message, body))

    def _head_received(self, data: bytes) -> None:
        self.start_timeout()
        self._head_bytes += len(data)
        searched = max(0, len(self._head) - 2)
        self._head += data if self._head else data.lstrip(b"\r\n")
        end = self._end_of_head(searched)
        head = bytes(self._head[:end])
        rest = bytes(self._head[len(head) :])
        if self._head_bytes - len(rest) > MAX_HEAD:
            self._end()
            super().set_exception(HttpProcessingError(message="its head is too long"))
        elif end is not None or not _HTTP_PREFIX.startswith(self._head[: len(_HTTP_PREFIX)]):
            self._head[:] = head
            super().data_received(head)
            self._head.clear()
            if rest and self.is_connected():
                self.data_received(rest)

    def _end_of_head(self, searched: int) -> int | None:
        """Where the head ends; None if its end has not come. Interim responses before it are
        dropped. The first `searched` bytes are known to hold no end."""
        while end := _HEAD_END.search(self._head, searched):
            if not _INTERIM.match(self._head):
                return end.end(1)
            del self._head[: end.end()]
            searched = 0
        return None

    def _body_received(self, data: bytes, body: StreamReader) -> None:
        super().data_received(data)
        self._body_bytes += len(data)
        if body.is_eof():
            return
        error: Exception | None = None
        if isinstance(self.exception(), HttpProcessingError):
            error = UnreadableAnswer("it is not framed as HTTP is")
        elif self._body_bytes > 2 * body.total_bytes + MAX_FRAMING_BYTES:
            error = ClientPayloadError("more wrapping than body")
        if error is not None:
            # Inside a chunk's head the end of the connection would not be reported as an error.
            self._payload = None
            body.set_exception(error)
            self._end()

    def _end(self) -> None:
        self._should_close = True
        if self.transport is not None:
            self.transport.abort()


def _salvage_head(head: bytes) -> RawResponseMessage | None:
    """What can be read in a head that is malformed; None if it has no status."""
    match = _STATUS.match(head)
    if match is None:
        return None
    fields = CIMultiDict[str]()
    for line in head[match.end() :].splitlines():
        name, colon, value = line.partition(b":")
        if colon and _NAME.fullmatch(name):
            fields.add(name.decode(), _decode(value.strip(b" \t")))
    return RawResponseMessage(
        version=HttpVersion11,
        code=int(match[1]),
        reason=_decode(match[2] or b""),
        headers=CIMultiDictProxy(fields),
        raw_headers=(),
        should_close=True,
        compression=None,
        upgrade=False,
        chunked=False,
    )


def _decode(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class BoundedConnector(TCPConnector):
    """A TCPConnector whose connections are BoundedResponseHandlers."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(**options)
        self._factory = cast(
            "partial[ResponseHandler]", partial(BoundedResponseHandler, loop=self._loop)
        )
