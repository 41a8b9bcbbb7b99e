"""Errors of Postgres and its driver: which are transient, and what they say in one line."""

from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from service.kit.database.url import parse_hosts
from service.kit.errors import TABLES_MISSING, Unavailable

DRIVER_ERRORS: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    OSError,  # which TimeoutError is too
)
CONNECTION_ERRORS: Final = (OSError, asyncpg.InternalClientError)  # cut off while in use
READ_ONLY: Final = "25006"  # read_only_sql_transaction: this server is a standby now
UNDEFINED_TABLE: Final = "42P01"  # the migrations are still to be run
# SQLSTATEs of Postgres, and classes of them, that say "not now".
TRANSIENT: Final = (
    *("08", "28", "3D000"),  # connection, log-in, no such database (yet)
    *("53", "57", "58"),  # resources, operator's intervention, system
    *("55P03", "40001", "40P01", "25P03"),  # lock time-out, serialization, deadlock, idling
    *("0A000", UNDEFINED_TABLE, READ_ONLY),  # a plan that a migration has made invalid
)


class TranslatedErrors:
    """A context that raises Unavailable in place of an error of this connection that is transient;
    a connection that can be of no more use is ended."""

    __slots__ = ("_driver",)

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: object, _traceback: object) -> None:
        if not isinstance(error, DRIVER_ERRORS):
            return
        state = _sqlstate(error)
        if isinstance(error, CONNECTION_ERRORS) or state == READ_ONLY:
            self._driver.terminate()  # it would stay broken when Postgres is well again
        if self._driver.is_closed() or state.startswith(TRANSIENT):
            raise as_unavailable(error) from error


def is_transient(error: object) -> bool:
    """Whether this is an error of the driver's that will go away by itself."""
    return isinstance(error, CONNECTION_ERRORS) or _sqlstate(error).startswith(TRANSIENT)


def as_unavailable(error: object) -> Unavailable:
    """The Unavailable to raise in place of a transient error."""
    return Unavailable(TABLES_MISSING if _sqlstate(error) == UNDEFINED_TABLE else None)


def _sqlstate(error: object) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def failure_reason(error: Unavailable, url: str) -> str:
    """Why Postgres at `url` could not be used, in one line for whoever runs a command: which
    servers and database, and the message of the server or the system. Nothing else of the URL is
    shown."""
    cause = _driver_cause(error)
    if cause is None or str(error) == TABLES_MISSING:
        return str(error)
    message = str(cause).strip().partition("\n")[0] or type(cause).__name__
    return f"Postgres at {_server_and_database(url)}: {message}"


def _driver_cause(error: Unavailable) -> BaseException | None:
    """The error of the driver or the system from which this one was raised; None without one."""
    cause = error.__cause__
    while isinstance(cause, Exception) and not isinstance(cause, DRIVER_ERRORS):
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    return cause


def _server_and_database(url: str) -> str:
    servers = [_address(host, port) for host, port in parse_hosts(url)]
    name = unquote(urlsplit(url).path.strip("/"))
    return ", ".join([*servers, *([f"database {name}"] if name else [])])


def _address(host: str | None, port: int | None) -> str:
    name = "the usual place" if host is None else f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"
