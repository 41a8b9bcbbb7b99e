"""Identifiers: a prefix that says what it names, then 48 bits of time and 80 of chance.

They sort by the time of their making (as ULIDs do), so new rows land at the end of an index.
"""

from datetime import datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's Base32: no i, l, o, u
RANDOM_BYTES = 10
ID_LENGTH = 26  # characters after the prefix: 130 bits hold 128


def new_id(prefix: str, now: datetime, chance: bytes) -> str:
    """`prefix` + `_` + 26 characters; `chance` is CHANCE_BYTES random bytes."""
    return _encode(prefix, now.timestamp(), int.from_bytes(chance))


def first_id(prefix: str, at: float) -> str:
    """The least of the ids that are made from this time on, in Unix seconds."""
    return _encode(prefix, max(0.0, at), 0)


def _encode(prefix: str, at: float, chance: int) -> str:
    value = (int(at * 1000) << 80) | chance
    digits = [ALPHABET[(value >> shift) & 31] for shift in range((ID_LENGTH - 1) * 5, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
