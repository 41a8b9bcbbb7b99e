"""Request bodies: a bound on their size as they come, and their JSON value."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive

from service.kit.content_codings import is_encoded
from service.kit.errors import Malformed, TooLarge, UnsupportedMedia


def require_json(headers: Mapping[str, str]) -> None:
    """UnsupportedMedia unless the Content-Type is application/json."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMedia


class BodyReader:
    """Reads a body of at most `limit` bytes piece by piece; `complete` once all of it was read.

    Raises TooLarge, UnsupportedMedia for one with a Content-Encoding, and Malformed if the client
    stops in the middle. How long a body may take is bounded in `connection_limits.py`.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str], limit: int) -> None:
        if is_encoded(headers.get("content-encoding", "")):
            raise UnsupportedMedia("Send the body as it is, without Content-Encoding.")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        self._receive = receive
        self._limit = limit
        self._left = limit  # bytes that may still come
        self.complete = False

    async def read(self, at_least: int) -> bytearray:
        """At least so many bytes, or all that are left of the body."""
        read = bytearray()
        while len(read) < at_least and not self.complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Malformed("The body ended before all of it was sent.")
            piece = message.get("body", b"")
            self._left -= len(piece)
            if self._left < 0:
                raise _too_large(self._limit)
            read += piece
            self.complete = not message.get("more_body", False)
        return read


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body must have at most {limit} bytes.")


def parse_json(raw: bytes | bytearray) -> Any:  # noqa: ANN401
    """The value of a JSON document; Malformed if it is not JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        malformed = Malformed(f"The body is not JSON: {error.msg} at character {error.pos}.")
    raise malformed  # not inside `except`: its context would keep the whole document
