"""A set of ports, as a setting lists them."""

import re
from dataclasses import dataclass
from typing import Final

MAX_PORT: Final = 65535

_RANGE: Final = re.compile(r"([0-9]{1,5})(-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports in some ranges, for `443 in ports`."""

    ranges: tuple[range, ...]  # each with its first port, and without its `stop`

    def __contains__(self, port: object) -> bool:
        return any(port in range_ for range_ in self.ranges)


def parse_ports(text: str) -> Ports:
    """The ports of a text with ports and ranges (`1024-65535`) between commas or blanks; ValueError
    if an item is neither, or if there is none."""
    ranges = tuple(_parse_range(item) for item in text.replace(",", " ").split())
    if not ranges:
        raise ValueError("must name at least one port")
    return Ports(ranges)


def _parse_range(item: str) -> range:
    parts = _RANGE.fullmatch(item)
    first, last = (int(parts[1]), int(parts[3] or parts[1])) if parts else (0, 0)
    if not 0 < first <= last <= MAX_PORT:
        raise ValueError(f"must be ports from 1 to {MAX_PORT}, or ranges like 1024-{MAX_PORT}")
    return range(first, last + 1)
