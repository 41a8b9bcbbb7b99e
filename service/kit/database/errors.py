"""Errors of Postgres and its driver: which are transient, and what they say in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from service.kit.database.url import parse_hosts
from service.kit.errors import TABLES_MISSING, Unavailable

DRIVER_ERRORS: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    OSError,  # and with it TimeoutError
)
CONNECTION_ERRORS: Final = (
    OSError,
    asyncpg.InternalClientError,
)  # cut off in the midst of something
# Postgres error codes and classes that say "not now": connection, log-in, no such database (yet),
# resources, operator, system, lock time-out, deadlock, a session ended for idling, a plan that a
# migration has made invalid, tables that `callsheet migrate` is still to make, and a server that
# only reads.
READ_ONLY: Final = "25006"
UNDEFINED_TABLE: Final = "42P01"
TRANSIENT: Final = (
    *("08", "28", "3D000", "53", "57", "58"),
    *("55P03", "40001", "40P01", "25P03", "0A000", UNDEFINED_TABLE, READ_ONLY),
)


@contextmanager
def translate_errors(driver: asyncpg.Connection) -> Iterator[None]:
    """Unavailable in place of what this session raises and what passes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        state = _sqlstate(error)
        if isinstance(error, CONNECTION_ERRORS) or state == READ_ONLY:
            driver.terminate()  # it would stay so when all others are well again
        if driver.is_closed() or state.startswith(TRANSIENT):
            raise as_unavailable(error) from error
        raise


@contextmanager
def translate_connect_errors() -> Iterator[None]:
    """Unavailable in place of whatever goes wrong while a connection is had."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise Unavailable from error


def is_transient(error: object) -> bool:
    """Whether this is an error of the driver's that will be got over."""
    return isinstance(error, CONNECTION_ERRORS) or _sqlstate(error).startswith(TRANSIENT)


def as_unavailable(error: object) -> Unavailable:
    """What to raise in place of an error that passes."""
    return Unavailable(TABLES_MISSING if _sqlstate(error) == UNDEFINED_TABLE else None)


def _sqlstate(error: object) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def failure_reason(error: Unavailable, url: str) -> str:
    """One line: the server's or the system's own words behind the error, and which server and
    database it is about; of `url`, where that is, nothing else is shown."""
    cause = _driver_cause(error)
    if cause is None or str(error) == TABLES_MISSING:
        return str(error)
    words = str(cause).strip().partition("\n")[0] or type(cause).__name__
    return f"Postgres at {_server_and_database(url)}: {words}"


def _driver_cause(error: Unavailable) -> BaseException | None:
    """The driver's error, or the system's, from which this one was raised."""
    cause = error.__cause__
    while isinstance(cause, Exception) and not isinstance(cause, DRIVER_ERRORS):
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    return cause


def _server_and_database(url: str) -> str:
    places = [_address(host, port) for host, port in parse_hosts(url)]
    name = unquote(urlsplit(url).path.strip("/"))
    return ", ".join([*places, *([f"database {name}"] if name else [])])


def _address(host: str | None, port: int | None) -> str:
    shown = "the usual place" if host is None else f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"
