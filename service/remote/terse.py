"""A connection to somebody who may answer with much that says little.

aiohttp reads interim answers (1xx) for as long as they come, and keeps each until it is looked at:
a flood of them stops the event loop, and every other delivery with it. So do bodies in chunks of a
byte, each with a long extension, of which nothing counts towards a bound on what is read.
"""

from asyncio import AbstractEventLoop
from functools import partial
from typing import Any, Final, cast

from aiohttp import ClientPayloadError, TCPConnector
from aiohttp.client_proto import ResponseHandler

MOST_INTERIM: Final = 8  # answers in one piece; a server that means well sends one or two in all
MOST_HEAD: Final = 65_536  # bytes before the body begins
MOST_WRAPPING: Final = 262_144  # bytes around the body, beside as many as the body has itself
ONE_AFTER_ANOTHER: Final = b"\r\n\r\nHTTP/1."


class Terse(ResponseHandler):
    """Ends the connection, so that the request fails as reset."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head_bytes = self._body_bytes = 0

    def set_response_params(self, **parameters: Any) -> None:  # noqa: ANN401 - passed on as they are
        self._head_bytes = self._body_bytes = 0
        super().set_response_params(**parameters)

    def data_received(self, data: bytes) -> None:
        if self._before_body():
            self._head_bytes += len(data)
            if data.count(ONE_AFTER_ANOTHER) > MOST_INTERIM:
                self.abort()
                return
        super().data_received(data)
        if self._payload is None or self._payload.is_eof():
            if self._head_bytes > MOST_HEAD:
                self.abort()
            return
        self._body_bytes += len(data)
        if self._body_bytes > 2 * self._payload.total_bytes + MOST_WRAPPING:
            # In the midst of a chunk's head the end of the connection tells a reader nothing.
            self._payload.set_exception(ClientPayloadError("more wrapping than body"))
            self.abort()

    def _before_body(self) -> bool:
        return self._payload is None or self._payload.is_eof()


class Connector(TCPConnector):
    """A TCPConnector whose connections are terse."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(Terse, loop=self._loop))
