"""A request's headers where one name has several lines (RFC 9110, section 5.3)."""

from collections.abc import Iterable

from starlette.datastructures import Headers

from service.kit.errors import Malformed


def combined(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Each name with its lines as one list, a comma between them. Of lines that are equal byte for
    byte in name and value, only the first is taken: the others are dropped."""
    values: dict[str, str] = {}
    for raw_name, raw_value in dict.fromkeys(lines):
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        values[name] = f"{values[name]}, {value}" if name in values else value
    return values


def only(headers: Headers, name: str) -> str | None:
    """The value of a header that is no list, None without it; Malformed if two lines of it say
    unlike things: whoever sent them meant one, and which is not guessed."""
    values = set(headers.getlist(name))
    if len(values) > 1:
        raise Malformed(f"{name} is there twice, with unlike values")
    return next(iter(values), None)
