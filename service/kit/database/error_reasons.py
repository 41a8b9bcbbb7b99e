"""Why Postgres could not be used, in one line for whoever runs a command."""

from urllib.parse import unquote, urlsplit

from service.kit.database.driver_errors import DRIVER_ERRORS
from service.kit.database_url import hosts
from service.kit.errors import TABLES_MISSING, Unavailable


def reason(error: Unavailable, url: str) -> str:
    """One line: the server's or the system's own words behind the error, and which server and
    database it is about; of `url`, where that is, nothing else is shown."""
    cause = _cause(error)
    if cause is None or str(error) == TABLES_MISSING:
        return str(error)
    words = str(cause).strip().partition("\n")[0] or type(cause).__name__
    return f"Postgres at {_place(url)}: {words}"


def _cause(error: Unavailable) -> BaseException | None:
    """The driver's error, or the system's, from which this one was raised."""
    cause = error.__cause__
    while isinstance(cause, Exception) and not isinstance(cause, DRIVER_ERRORS):
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    return cause


def _place(url: str) -> str:
    places = [_address(host, port) for host, port in hosts(url)]
    name = unquote(urlsplit(url).path.strip("/"))
    return ", ".join([*places, *([f"database {name}"] if name else [])])


def _address(host: str | None, port: int | None) -> str:
    shown = "the usual place" if host is None else f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"
