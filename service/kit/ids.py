"""Ids as ULIDs are: a prefix that says what is named, 48 bits of time, 80 random bits.

They sort by the time they were made at, so new rows land at the end of an index.
"""

from datetime import datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's Base32: no i, l, o, u
RANDOM_BYTES = 10
ID_LENGTH = 26  # characters after the prefix: 130 bits hold 128
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # of characters: 10 bits each
_SHIFTS = range((ID_LENGTH - 2) * 5, -1, -10)


def new_id(prefix: str, now: datetime, random_bytes: bytes) -> str:
    """An id: `prefix`, `_` and ID_LENGTH characters; it takes RANDOM_BYTES random bytes."""
    return _encode(prefix, now.timestamp(), int.from_bytes(random_bytes))


def first_id(prefix: str, at: float) -> str:
    """The least id that can be made at this time (Unix seconds) or later."""
    return _encode(prefix, max(0.0, at), 0)


def _encode(prefix: str, at: float, random_bits: int) -> str:
    value = (int(at * 1000) << 80) | random_bits
    digits = [_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS]
    return f"{prefix}_{''.join(digits)}"
