"""Database servers that development or a test has started, and how their binaries are found."""

import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.local.errors import LocalError
from service.local.ports import HOST
from service.local.processes import Child

ANSWER_TIMEOUT = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, which a test can kill and start again on the same port and data."""

    url: str = field(repr=False)  # with the password, where there is one
    child: Child  # its process

    def kill(self) -> None:
        """Kill it as a fault would: Valkey by SIGKILL, Postgres by SIGQUIT (immediate)."""
        self.child.kill()

    def start(self) -> None:
        """Start it again after `kill`; returns when it can be used."""
        self.child.start()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.child.restart()


def first_executable(binaries: Iterable[Path], missing: str) -> Path:
    """The first binary that can be run; LocalError with the text `missing` if there is none."""
    for binary in binaries:
        if os.access(binary, os.X_OK):
            return binary
    raise LocalError(missing)


def on_path(*names: str) -> Iterator[Path]:
    """The programs of these names that PATH has."""
    return (Path(found) for name in names if (found := shutil.which(name)))


def answers(port: int, request: bytes, start: bytes) -> bool:
    """Whether a server on this port of loopback answers `request` with bytes that begin so."""
    with suppress(OSError), socket.create_connection((HOST, port), ANSWER_TIMEOUT) as connection:
        connection.sendall(request)
        return connection.recv(64).startswith(start)
    return False
