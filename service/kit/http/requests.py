"""Reading a request: small JSON bodies, path and query parameters, with bounds on each."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from service.kit.errors import FieldError, Invalid, NotFound
from service.kit.http.body import BodyReader, parse_json, require_json
from service.kit.http.headers import combined_headers
from service.kit.http.request import Request
from service.kit.timestamps import parse_rfc3339
from service.kit.validation import ValidationContext

MAX_SMALL_BODY = 64_000  # bytes of a body that carries no files
MAX_CURSOR = 100  # characters
MAX_DIGITS = 9  # of an integer in a query
MAX_LIMIT = 200  # rows of one page
DEFAULT_LIMIT = 50  # rows of one page, unless the caller asks for others

T = TypeVar("T")


async def read_json(request: Request, limit: int) -> Any:  # noqa: ANN401
    """The JSON value of a body of at most `limit` bytes; UnsupportedMedia, TooLarge or Malformed if
    it is something else."""
    headers = combined_headers(request.scope["headers"])
    require_json(headers)
    return parse_json(await BodyReader(request.receive, headers, limit).read(limit + 1))


def path_parameter(request: Request, name: str) -> str:
    """A parameter of the path, which names something; NotFound if nothing can have that name."""
    value: str = request.path_params[name]
    if "\0" in value:  # Postgres cannot hold it
        raise NotFound
    return value


def refuse_query(request: Request) -> None:
    """Raise Invalid if the request has query parameters: this call knows none."""
    if request.scope["query_string"]:
        Query(request).finish()


class Query:
    """A request's query parameters, read one by one; errors are collected until `finish`."""

    def __init__(self, request: Request) -> None:
        self._given = request.query_params
        self._known: set[str] = set()  # names of the parameters that were read
        self._context = ValidationContext()
        self._errors = self._context.errors

    def text(self, name: str, allowed: frozenset[str] | None = None) -> str | None:
        """The parameter as it is, of the allowed values if there are such; None without it."""
        self._known.add(name)
        value = self._given.get(name)
        if value is not None and allowed is not None and value not in allowed:
            self.add_error(name, f"must be one of {', '.join(sorted(allowed))}")
        if value is not None and "\0" in value:  # Postgres cannot hold it
            self.add_error(name, "must not contain the character U+0000")
        return value

    def field(self, name: str, read: Callable[[ValidationContext, str, object], T]) -> T | None:
        """The parameter as `read` returns it, which takes the context that collects errors, the
        JSON Pointer and the value; None without the parameter."""
        self._known.add(name)
        value = self._given.get(name)
        return None if value is None else read(self._context, f"/{name}", value)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """The parameter as a number from `low` to `high`; the default without it."""
        text = self.text(name)
        if text is None:
            return default
        digits = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
        if not (digits and low <= int(text) <= high):
            self.add_error(name, f"must be a whole number from {low} to {high}")
            return default
        return int(text)

    def time(self, name: str) -> datetime | None:
        """The parameter as a time in UTC; None without it."""
        text = self.text(name)
        if text is None:
            return None
        moment = parse_rfc3339(text)
        if moment is None:
            self.add_error(
                name, "must be an RFC 3339 time with a zone, as 2026-01-02T03:04:05.678Z"
            )
        return moment

    def add_error(self, name: str, rule: str) -> None:
        """Report a broken rule; `rule` completes a sentence that begins with the name."""
        self._errors.append(FieldError(f"/{name}", "query", f"{name} {rule}"))

    def finish(self) -> None:
        """Raise Invalid if a parameter had an error, or was never read and so is not known."""
        for name in self._given:
            if name not in self._known:
                self.add_error(name, "is not a parameter of this call")
        if self._errors:
            raise Invalid(self._errors)
