"""A body as it comes: bounded before it is read, counted while it is, and its JSON value."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive

from service.kit.content_codings import is_encoded
from service.kit.errors import Malformed, TooLarge, UnsupportedMedia


def require_json(headers: Mapping[str, str]) -> None:
    """UnsupportedMedia for anything else."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMedia


class BodyReader:
    """The pieces of a body of at most `limit` bytes; `whole` once the last has been taken.

    TooLarge, UnsupportedMedia, Malformed if it broke off. How long it may take: protocol.py.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str], limit: int) -> None:
        if is_encoded(headers.get("content-encoding", "")):
            raise UnsupportedMedia("send the body as it is, without Content-Encoding")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        self._receive = receive
        self._limit = self._left = limit
        self.complete = False

    async def read(self, least: int) -> bytearray:
        """At least so many bytes, or all that are left."""
        taken = bytearray()
        while len(taken) < least and not self.complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Malformed("the body broke off")
            piece = message.get("body", b"")
            self._left -= len(piece)
            if self._left < 0:
                raise _too_large(self._limit)
            taken += piece
            self.complete = not message.get("more_body", False)
        return taken


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"at most {limit} bytes")


def parse_json(raw: bytes | bytearray) -> Any:  # noqa: ANN401
    """The JSON value; Malformed if it is none."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        flaw = Malformed(f"not JSON: {error.msg} at character {error.pos}")
    raise flaw  # out here it has no context: that one holds the whole document
