"""X-Request-Id: taken from the request if it is sane, and sent with every response."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.types import Message, Send

HEADER: Final = b"x-request-id"
VALID: Final = re.compile(rb"[A-Za-z0-9._:-]{8,128}")


def given_request_id(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The id that a request gives (of several, the first); None without one that is VALID."""
    for name, value in headers:
        if name == HEADER:
            return value.decode() if VALID.fullmatch(value) else None
    return None


def with_request_id(send: Send, request_id: str) -> Send:
    """`send`, with the id in the headers of the response."""

    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (HEADER, request_id.encode())]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_id
