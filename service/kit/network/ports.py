"""Which ports may be dialled, as a setting says it."""

import re
from dataclasses import dataclass
from typing import Final

MAX_PORT: Final = 65535

_RANGE: Final = re.compile(r"([0-9]{1,5})(-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports in some ranges: `443 in ports`."""

    ranges: tuple[range, ...]

    def __contains__(self, port: object) -> bool:
        return any(port in one for one in self.ranges)


def parse_ports(text: str) -> Ports:
    """Ports and ranges of them (`1024-65535`) between commas or spaces; ValueError if one is not,
    or if there is none at all."""
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
