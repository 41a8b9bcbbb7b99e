"""Cursors of pages: the position in a list ordered by time and id; opaque, but no secret."""

from datetime import datetime

from service.kit.errors import Malformed
from service.kit.http.requests import MAX_CURSOR
from service.kit.text import decode_base64url, encode_base64url
from service.kit.timestamps import parse_rfc3339


def encode_cursor(created_at: datetime, id_: str) -> str:
    """The cursor of the position behind a row."""
    return encode_base64url(f"{created_at.isoformat()} {id_}".encode())


def decode_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Time and id of the row that the cursor stands behind; None for None; Malformed if it is not a
    cursor that `encode_cursor` made."""
    if cursor is None:
        return None
    try:
        text, _, id_ = decode_base64url(cursor[:MAX_CURSOR]).decode("ascii").partition(" ")
    except ValueError:
        raise Malformed("This cursor was not made by this service.") from None
    created_at = parse_rfc3339(text)
    if created_at is None or "\0" in id_:
        raise Malformed("This cursor was not made by this service.")
    return created_at, id_
