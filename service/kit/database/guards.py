"""Guards: what must still hold for a statement to write anything.

A statement that decides by what was read earlier, without a lock, checks that it still holds, and
fails as a whole if it does not: so nothing is half done, and two round trips do what a transaction
needs five for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

_FAILURES: Final = (asyncpg.DivisionByZeroError, asyncpg.UniqueViolationError)


class GuardFailed(Exception):
    """What a statement was made by has changed meanwhile; it has written nothing."""


def guard(condition: str) -> str:
    """A column to select: it makes the statement fail unless this SQL condition is true."""
    return f"1 / CAST(coalesce({condition}, false) AS int)"


@contextmanager
def guarded() -> Iterator[None]:
    """Raise GuardFailed where a guard of the statement, or a unique key, made it fail."""
    try:
        yield
    except _FAILURES as error:
        raise GuardFailed from error
