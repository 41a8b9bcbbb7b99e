"""Times and durations in text and numbers: RFC 3339, Unix milliseconds, Retry-After, `90s`."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MILLISECONDS: Final = 10**14  # the year 5138
# The first and the last time that is read. A microsecond further out asyncpg writes Postgres'
# infinities, and reads those back without a zone: they could be compared with no other time.
FIRST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(microseconds=1)
LAST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=1)
UNIT_SECONDS: Final[Mapping[str, int]] = MappingProxyType(
    {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
)
DURATION: Final = re.compile(r"([0-9]{1,9})([smhd]?)")
MAX_RETRY_AFTER: Final = 64  # characters; the longest HTTP date has 33


@lru_cache(maxsize=256)  # what is written together has few times, each in several places
def format_rfc3339(moment: datetime | None) -> str | None:
    """The time in UTC with milliseconds: 2026-01-02T03:04:05.678Z. None for None."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def parse_rfc3339(text: str) -> datetime | None:
    """The time in UTC, from FIRST to LAST; None for a text that is no time, or has no zone."""
    try:
        given = datetime.fromisoformat(text)
        moment = given.astimezone(UTC)
    except (ValueError, OverflowError):  # overflow: the year 10000, from a zone west of UTC
        return None
    return None if given.tzinfo is None else min(max(moment, FIRST), LAST)


def from_milliseconds(value: object) -> datetime | None:
    """The time that is this many Unix milliseconds; None for any other value."""
    if type(value) is int and 0 <= value < MAX_MILLISECONDS:  # isinstance would take True
        return EPOCH + timedelta(milliseconds=value)
    return None


def to_milliseconds(moment: datetime) -> int:
    """Unix milliseconds, rounded down."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """The seconds from one moment to another; 0 where the clocks of two processes, which noted one
    each, have it the other way round."""
    return max(0.0, (later - earlier).total_seconds())


def parse_duration(text: str, max_seconds: float) -> float:
    """The seconds of a duration such as 90, 90s, 5m, 1h or 2d; ValueError, with the rule, for
    anything else, and for what is not from 1 to `max_seconds`."""
    match = DURATION.fullmatch(text)
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else 0
    if not 1 <= seconds <= max_seconds:
        raise ValueError(
            f"must be a time as 90, 90s, 5m, 1h or 2d, from 1 to {max_seconds:.0f} seconds"
        )
    return float(seconds)


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """The seconds from now that a Retry-After header asks for (RFC 9110, section 10.2.3), given as
    a number or as an HTTP date; 0 for a date that has passed; None without a valid header."""
    if text is None or len(text) > MAX_RETRY_AFTER or not text.isascii():
        return None
    text = text.strip(" \t")  # RFC 9110, section 5.6.3: no other character is a blank
    if text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # the asctime form, which is always in UTC
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
