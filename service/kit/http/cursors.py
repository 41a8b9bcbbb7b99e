"""Places in lists that are ordered by time and id: opaque to callers, and no secret."""

from datetime import datetime

from service.kit.errors import Malformed
from service.kit.http.requests import MAX_CURSOR
from service.kit.text import base64url, from_base64url
from service.kit.timestamps import read_rfc3339


def cursor_of(moment: datetime, id_: str) -> str:
    """The place after a row of this time and id."""
    text = f"{moment.isoformat()} {id_}"
    return base64url(text.encode())


def read_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """The place a cursor names; Malformed if it is none of ours."""
    if cursor is None:
        return None
    try:
        text, _, id_ = from_base64url(cursor[:MAX_CURSOR]).decode("ascii").partition(" ")
    except ValueError:
        raise Malformed("this cursor is not one of ours") from None
    moment = read_rfc3339(text)
    if moment is None or "\0" in id_:
        raise Malformed("this cursor is not one of ours")
    return moment, id_
