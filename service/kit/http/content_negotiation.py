"""Content negotiation: JSON, or another media type for whoever accepts it (RFC 9110, section
12.5.1)."""

import re

from service.kit.http.request import Request

JSON = "application/json"
WEIGHT_ZERO = re.compile(r"q\s*=\s*0(\.0*)?")


def wants(request: Request, media_type: str) -> bool:
    """Whether the request's Accept headers name this media type, and JSON not before it."""
    return prefers(",".join(request.headers.getlist("accept")), media_type)


def prefers(accept: str, media_type: str) -> bool:
    """Whether an Accept header names this media type, and JSON not before it. Of weights only q=0
    counts: the media type is not acceptable."""
    names = []
    for part in accept.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        if not any(map(WEIGHT_ZERO.fullmatch, parameters)):
            names.append(name)
    return media_type in names and JSON not in names[: names.index(media_type)]
