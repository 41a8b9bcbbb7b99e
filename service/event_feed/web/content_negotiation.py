"""Content negotiation of the event feeds: JSON, or text/event-stream for whoever accepts it
(RFC 9110, section 12.5.1)."""

import re

STREAM, JSON = "text/event-stream", "application/json"
WEIGHT_ZERO = re.compile(r"q\s*=\s*0(\.0*)?")


def wants_stream(accept: str) -> bool:
    """Whether an Accept header names text/event-stream, and JSON not before it. Of weights only
    q=0 counts: the media type is not acceptable."""
    names = []
    for part in accept.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        if not any(map(WEIGHT_ZERO.fullmatch, parameters)):
            names.append(name)
    return STREAM in names and JSON not in names[: names.index(STREAM)]
