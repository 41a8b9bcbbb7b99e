"""Content negotiation: JSON, or a stream of events for whoever names it (RFC 9110, 12.5.1)."""

import re

STREAM, JSON = "text/event-stream", "application/json"
UNWANTED = re.compile(r"q\s*=\s*0(\.0*)?")


def wants_stream(accept: str) -> bool:
    """Whether an Accept header names an event stream, and JSON not before it. Of weights only 0
    counts: it names what is not wanted."""
    names = []
    for part in accept.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        if not any(map(UNWANTED.fullmatch, parameters)):
            names.append(name)
    return STREAM in names and JSON not in names[: names.index(STREAM)]
