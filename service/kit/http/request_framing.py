"""What a request's head must say of its host and of its body's length, before anything is done."""

import re
from collections.abc import Sequence
from typing import Final

# RFC 3986, section 3.2.2, with the port of RFC 9110, section 7.2. It may be empty: RFC 9112, 3.2.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_FIRST_WITH_HOST: Final = "1.1"  # the version that made Host, and chunks, part of HTTP


def flaw(version: str, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why a request must not be acted on, in one sentence; None if nothing is wrong.

    Servers that read such a request differently would take different bytes for the next one (RFC
    9112, sections 3.2 and 6.1). `headers` have lower-case names and no blanks around their values.
    """
    hosts = [value for name, value in headers if name == b"host"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if len(hosts) > 1 or (not hosts and version >= _FIRST_WITH_HOST):
        return "A request has one Host header."
    if hosts and not _HOST.fullmatch(hosts[0]):
        return "The Host header is not a host with or without a port."
    if codings and version < _FIRST_WITH_HOST:
        return "Transfer-Encoding is not part of this version of HTTP."
    if codings and codings != [b"chunked"]:
        return "Transfer-Encoding is chunked, or left out."
    return None
