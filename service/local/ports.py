"""Free ports on the loopback address."""

import secrets
import socket

HOST = "127.0.0.1"

# Below the ports that systems hand to outgoing connections (Linux 32768, macOS 49152): one of
# those could take a server's port while the server is being restarted on it.
RANGE = range(20_000, 32_000)

_handed_out: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; connections in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on; one process never gets the same one twice."""
    while True:
        port = secrets.choice(RANGE)
        if port not in _handed_out and is_free(port):
            _handed_out.add(port)
            return port
