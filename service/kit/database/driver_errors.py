"""Which of the driver's errors pass, as Postgres, or the way to it, will get over them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from service.kit.errors import TABLES_MISSING, Unavailable

DRIVER_ERRORS: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    OSError,  # and with it TimeoutError
)
BROKEN: Final = (OSError, asyncpg.InternalClientError)  # cut off in the midst of something
# Postgres error codes and classes that say "not now": connection, log-in, no such database (yet),
# resources, operator, system, lock time-out, deadlock, a session ended for idling, a plan that a
# migration has made invalid, tables that `callsheet migrate` is still to make, and a server that
# only reads.
READ_ONLY: Final = "25006"
UNDEFINED_TABLE: Final = "42P01"
PASSING: Final = (
    *("08", "28", "3D000", "53", "57", "58"),
    *("55P03", "40001", "40P01", "25P03", "0A000", UNDEFINED_TABLE, READ_ONLY),
)


@contextmanager
def translated(driver: asyncpg.Connection) -> Iterator[None]:
    """Unavailable in place of what this session raises and what passes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        state = _sqlstate(error)
        if isinstance(error, BROKEN) or state == READ_ONLY:
            driver.terminate()  # it would stay so when all others are well again
        if driver.is_closed() or state.startswith(PASSING):
            raise unavailable(error) from error
        raise


@contextmanager
def opening() -> Iterator[None]:
    """Unavailable in place of whatever goes wrong while a connection is had."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise Unavailable from error


def passes(error: object) -> bool:
    """Whether this is an error of the driver's that will be got over."""
    return isinstance(error, BROKEN) or _sqlstate(error).startswith(PASSING)


def unavailable(error: object) -> Unavailable:
    """What to raise in place of an error that passes."""
    return Unavailable(TABLES_MISSING if _sqlstate(error) == UNDEFINED_TABLE else None)


def _sqlstate(error: object) -> str:
    return str(getattr(error, "sqlstate", None) or "")
