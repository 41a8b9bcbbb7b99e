"""Durations as people write them in a header: `90`, `90s`, `5m`, `1h`, `2d`."""

import re
from collections.abc import Mapping
from types import MappingProxyType

UNITS: Mapping[str, int] = MappingProxyType({"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400})
DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


def read(text: str, most: float) -> float:
    """Seconds, from 1 to `most`; ValueError with the rule in words for anything else."""
    found = DURATION.fullmatch(text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 1 <= seconds <= most:
        msg = f"must be a time as 90, 90s, 5m, 1h or 2d, from 1 to {most:.0f} seconds"
        raise ValueError(msg)
    return float(seconds)
