"""How a connection to Postgres is opened: those of the pool, the listener's, the migrations'."""

import socket
import time
from typing import Any, Final

import asyncpg

from service.kit.database.url import parse_hosts
from service.kit.errors import Unavailable

CONNECT_TIMEOUT: Final = 5.0  # seconds until the next host is tried

# A firewall or NAT that forgot a connection drops what is sent over it, without a word. Probes keep
# it from forgetting, and find out if it did; of what was sent, so much time may pass until it is
# acknowledged. The server does the same, or sessions that nobody uses any more would fill it.
IDLE_SECONDS: Final = 10  # before the first probe
PROBE_SECONDS: Final = 5  # from one to the next
PROBES: Final = 3
ACKNOWLEDGE_MILLISECONDS: Final = 15_000  # milliseconds
_SOCKET_OPTIONS: Final = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPALIVE", IDLE_SECONDS),  # what macOS calls TCP_KEEPIDLE
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
    timeout: float = CONNECT_TIMEOUT,  # noqa: ASYNC109 - the driver's own, for one host
    command_timeout: float | None = None,
    **settings: str,
) -> asyncpg.Connection:
    """A connection to the first of the URL's hosts that is as the URL wants it, with these settings
    of the server's; both time-outs are in seconds.

    Unavailable, with the last host's reason as its cause, whatever it is: a server that is being
    restarted, moved or locked refuses with a code of any class, and none of them is our fault.
    """
    refused: Exception | None = None
    for host, port in parse_hosts(url):
        try:
            # Each host by itself: the driver's time-out is for all of them together, so that a
            # first one that says nothing would leave no time for the second.
            return await asyncpg.connect(
                url,
                host=host,
                port=port,
                timeout=timeout,
                command_timeout=command_timeout,
                server_settings=_SERVER_SETTINGS | settings,
                connection_class=_KeptAliveConnection,
            )
        except Exception as error:  # noqa: BLE001 - said on below
            refused = error
    raise Unavailable from refused


class _KeptAliveConnection(asyncpg.Connection):  # type: ignore[misc]
    """Notices in seconds that nobody is there any more. Both times are of the monotonic clock, in
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
