"""Opening a connection to Postgres that notices when the other side is gone."""

import socket
import time
from typing import Any, Final

import asyncpg

from service.kit.database.url import parse_hosts
from service.kit.errors import Unavailable

CONNECT_TIMEOUT: Final = 5.0  # seconds until the next host is tried

# TCP keepalive: a firewall or NAT that forgot a connection drops what is sent over it, without a
# word. Probes keep it from forgetting, and find out if it did. The server is told to send them too,
# or sessions that nobody uses any more would fill it.
IDLE_SECONDS: Final = 10  # before the first probe
PROBE_SECONDS: Final = 5  # from one probe to the next
PROBES: Final = 3  # unanswered ones, until the connection counts as lost
ACKNOWLEDGE_MILLISECONDS: Final = 15_000  # for what was sent to be acknowledged
_SOCKET_OPTIONS: Final = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPALIVE", IDLE_SECONDS),  # TCP_KEEPIDLE on macOS
    ("TCP_KEEPINTVL", PROBE_SECONDS),
    ("TCP_KEEPCNT", PROBES),
    ("TCP_USER_TIMEOUT", ACKNOWLEDGE_MILLISECONDS),
)
_SERVER_SETTINGS: Final = {
    "tcp_keepalives_idle": str(IDLE_SECONDS),
    "tcp_keepalives_interval": str(PROBE_SECONDS),
    "tcp_keepalives_count": str(PROBES),
}


async def connect(
    url: str,
    *,
    timeout: float = CONNECT_TIMEOUT,  # noqa: ASYNC109 - the driver's own, for each host
    command_timeout: float | None = None,
    **settings: str,
) -> asyncpg.Connection:
    """A connection to the first of the URL's hosts that takes one and is as the URL asks.

    `settings` are set for the session; both time-outs are in seconds. Whatever goes wrong raises
    Unavailable from the last host's error: a server that is being restarted, moved or locked
    refuses with an error of any class, and none is our fault.
    """
    last_error: Exception | None = None
    for host, port in parse_hosts(url):
        try:
            # One host at a time: the driver's time-out is for all hosts together, so that a silent
            # first one would leave no time for the second.
            return await asyncpg.connect(
                url,
                host=host,
                port=port,
                timeout=timeout,
                command_timeout=command_timeout,
                server_settings=_SERVER_SETTINGS | settings,
                connection_class=_DriverConnection,
            )
        except Exception as error:  # noqa: BLE001 - raised below
            last_error = error
    raise Unavailable from last_error


class _DriverConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection with TCP keepalive. `opened_at` and `idle_since` are of the monotonic clock, in
    seconds."""

    __slots__ = ("idle_since", "opened_at")

    def __init__(self, protocol: object, transport: Any, *others: object) -> None:  # noqa: ANN401
        super().__init__(protocol, transport, *others)
        self.opened_at = self.idle_since = time.monotonic()
        _enable_keepalive(transport.get_extra_info("socket"))


def _enable_keepalive(opened: socket.socket) -> None:
    if opened.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SOCKET_OPTIONS:
        option = getattr(socket, name, None)  # each system has some of them
        if option is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
