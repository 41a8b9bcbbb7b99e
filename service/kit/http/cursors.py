"""Places in lists that are ordered by time and id: opaque to callers, and no secret."""

from datetime import datetime

from service.kit.errors import Malformed
from service.kit.http.requests import MAX_CURSOR
from service.kit.text import decode_base64url, encode_base64url
from service.kit.timestamps import parse_rfc3339


def encode_cursor(moment: datetime, id_: str) -> str:
    """The place after a row of this time and id."""
    text = f"{moment.isoformat()} {id_}"
    return encode_base64url(text.encode())


def decode_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """The place a cursor names; Malformed if it is none of ours."""
    if cursor is None:
        return None
    try:
        text, _, id_ = decode_base64url(cursor[:MAX_CURSOR]).decode("ascii").partition(" ")
    except ValueError:
        raise Malformed("this cursor is not one of ours") from None
    moment = parse_rfc3339(text)
    if moment is None or "\0" in id_:
        raise Malformed("this cursor is not one of ours")
    return moment, id_
