"""Request headers: names that have several lines, and a check of Host and Transfer-Encoding."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from service.kit.errors import Malformed


class Headers:
    """The header lines of a request, by name. Most are asked for in vain."""

    __slots__ = ("_lines", "_names")

    def __init__(self, lines: Sequence[tuple[bytes, bytes]]) -> None:
        """`lines` have lower-case names, as ASGI gives them."""
        self._lines = lines
        self._names = dict(lines)

    def getlist(self, name: str) -> list[str]:
        """The values of all lines of this name, which is given in lower case."""
        sought = name.encode()
        if sought not in self._names:
            return []
        return [value.decode("latin-1") for given, value in self._lines if given == sought]

    def get(self, name: str) -> str | None:
        """The value of the first line of this name; None without one."""
        return next(iter(self.getlist(name)), None)

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._names


def combined_headers(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name, with the lines of a name joined by commas (RFC 9110, section 5.3). Of lines
    that are equal in name and value, byte for byte, only the first counts."""
    values: dict[str, str] = {}
    for raw_name, raw_value in dict.fromkeys(lines):
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        values[name] = f"{values[name]}, {value}" if name in values else value
    return values


def single_header(headers: Headers, name: str) -> str | None:
    """The value of a header that is not a list, None without it; Malformed if two lines of it
    differ: which of them was meant is not guessed."""
    values = headers.getlist(name)
    if len(values) > 1 and len(set(values)) > 1:
        raise Malformed(f"The header {name} was sent twice, with different values.")
    return values[0] if values else None


# RFC 3986, section 3.2.2, with the port of RFC 9110, section 7.2. It may be empty: RFC 9112, 3.2.
_HOST_VALUE: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_HTTP_1_1: Final = "1.1"  # the first version with Host and with chunks


def framing_error(version: str, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why a request must be refused for its Host or Transfer-Encoding, in a sentence; None if it is
    well framed. `headers` have lower-case names and no blanks around their values.

    Request smuggling: servers that read such a request differently would take different bytes for
    the next one (RFC 9112, sections 3.2 and 6.1).
    """
    hosts = [value for name, value in headers if name == b"host"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if len(hosts) > 1 or (not hosts and version >= _HTTP_1_1):
        return "A request has one Host header."
    if hosts and not _HOST_VALUE.fullmatch(hosts[0]):
        return "The Host header is not a host with or without a port."
    if codings and version < _HTTP_1_1:
        return "Transfer-Encoding is not part of this version of HTTP."
    if codings and codings != [b"chunked"]:
        return "Transfer-Encoding is chunked, or left out."
    return None
