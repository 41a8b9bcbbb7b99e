"""Database URLs as libpq reads them: one host or several, or the folder of a socket.

PostgreSQL's documentation, "Connection URIs". What the driver would misread is refused.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from service.kit.network.ports import MAX_PORT
from service.kit.setting_parsers import PERCENT_ENCODING_RULE, scheme_rule

SCHEMES: Final = ("postgresql", "postgres")
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Other values that libpq knows could lead to a standby, which takes no writes.
SESSION_ATTRIBUTES: Final = ("any", "primary", "read-write")
# Parameters of libpq that the driver does not know: it would pass them on to the server as its
# settings, and the server would refuse every connection.
UNSUPPORTED_PARAMETERS: Final = frozenset(
    {
        *("channel_binding", "client_encoding", "connect_timeout", "fallback_application_name"),
        *("gssdelegation", "gssencmode", "hostaddr", "keepalives", "keepalives_count"),
        *("keepalives_idle", "keepalives_interval", "load_balance_hosts", "max_protocol_version"),
        *("min_protocol_version", "replication", "require_auth", "requirepeer", "requiressl"),
        *("servicefile", "sslcertmode", "sslcompression", "sslcrldir", "sslkeylogfile", "sslsni"),
    }
)

Host = tuple[str | None, int | None]  # host and port; None: the driver's default


def parse_database_url(value: str) -> str:
    """The URL as it was given, without slashes at its end. A ValueError says what it must be, and
    nothing of what it was."""
    try:
        scheme, authority, _, _, fragment = urlsplit(value)
    except ValueError:
        raise ValueError(PERCENT_ENCODING_RULE) from None
    if scheme not in SCHEMES or not value.startswith(f"{scheme}://"):
        raise ValueError(scheme_rule(*SCHEMES))
    if fragment or authority.count("@") > 1:
        raise ValueError(PERCENT_ENCODING_RULE)
    _check_parameters(_query_parameters(value))
    parse_hosts(value)
    return value.rstrip("/")


def parse_hosts(url: str) -> Sequence[Host]:
    """Host and port of each server, in the order in which to try them; ValueError if they cannot be
    read. A host that begins with a slash is the folder of a socket."""
    parameters = _query_parameters(url)
    authority = urlsplit(url).netloc.rpartition("@")[2]
    hosts = authority or parameters.get("host", "")
    ports: list[int | None] = [
        _parse_port(port) for port in parameters.get("port", "").split(",") if port
    ]
    if not hosts:
        return [(None, None)]
    servers = [_parse_host(item, encoded=bool(authority)) for item in hosts.split(",")]
    if len(ports) not in {0, 1, len(servers)}:
        raise ValueError("must have one port for all hosts, or one for each")
    defaults = ports if len(ports) > 1 else (ports or [None]) * len(servers)
    return [
        (host, port or default) for (host, port), default in zip(servers, defaults, strict=True)
    ]


def _parse_host(item: str, *, encoded: bool) -> Host:
    if item.startswith("/"):
        return item, None
    bracketed, bracket, rest = item.removeprefix("[").rpartition("]")
    host, _, port = (bracketed, "", rest.removeprefix(":")) if bracket else item.partition(":")
    if not host:
        raise ValueError("must name a host before and after each comma")
    return unquote(host) if encoded else host, _parse_port(port) if port else None


def _parse_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_PORT:
        raise ValueError(f"must have ports from 1 to {MAX_PORT}, and {PERCENT_ENCODING_RULE}")
    return int(text)


def _query_parameters(url: str) -> dict[str, str]:
    """The query parameters; of a name that comes twice the last value, as the driver takes it."""
    query = urlsplit(url).query
    try:
        values_by_name = parse_qs(query, strict_parsing=True) if query else {}
    except ValueError:
        raise ValueError(
            f"must have name=value behind the ?, and {PERCENT_ENCODING_RULE}"
        ) from None
    return {name: values[-1] for name, values in values_by_name.items()}


def _check_parameters(parameters: dict[str, str]) -> None:
    if parameters.get("sslmode", SSL_MODES[0]) not in SSL_MODES:
        raise ValueError(f"must have an sslmode of {', '.join(SSL_MODES)}")
    if parameters.get("target_session_attrs", "any") not in SESSION_ATTRIBUTES:
        raise ValueError(f"must have target_session_attrs of {', '.join(SESSION_ATTRIBUTES)}")
    if unknown := sorted(UNSUPPORTED_PARAMETERS & parameters.keys()):
        raise ValueError(f"must do without {', '.join(unknown)}: the driver does not know it")
