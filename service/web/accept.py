"""What a caller would rather have: RFC 9110, section 12.5.1, as far as it matters here."""

import re
from collections.abc import Iterator

STREAM = "text/event-stream"
JSON_RANGES = ("application/json", "application/*", "*/*")  # the most specific first
QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


def wants_stream(accept: str) -> bool:
    """Whether an Accept header prefers an event stream to JSON. It must name it; where both are
    named and liked as much, the first one is meant."""
    ranges = list(_ranges(accept))
    names, weights = [name for name, _ in ranges], dict(reversed(ranges))
    stream = weights.get(STREAM, 0.0)
    json = next((name for name in JSON_RANGES if name in weights), None)
    if json is None or stream != weights[json]:
        return stream > weights.get(json or "", 0.0)
    return stream > 0 and (json != JSON_RANGES[0] or names.index(STREAM) < names.index(json))


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Media ranges in their order, each with its weight; 0 if that cannot be read."""
    for part in accept.split(","):
        name, *parameters = (text.strip() for text in part.lower().split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = float(value) if QUALITY.fullmatch(value.strip()) else 0.0
        yield name, weight
