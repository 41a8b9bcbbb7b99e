"""Postgres for development and tests: a cluster of our own in a folder, on a free port."""

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.folders import exclusive_use, make_folder, read_or_create
from service.local.ports import HOST, free_port
from service.local.postgres_binaries import Binaries, find_binaries
from service.local.postgres_cluster import (
    Cluster,
    deleted_at_end,
    find_cluster,
    stop_leftover_server,
)
from service.local.processes import Command, Supervisor, supervised
from service.local.server import Server

NAME = "callsheet"
MAX_CONNECTIONS = 200
BUILTIN_LOCALE_MAJOR = 17  # the first major version whose C.UTF-8 needs nothing of the system

# For tests alone: a crash may then lose what was committed last, and one of the machine all.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def postgres(folder: Path, *, durable: bool = True, keep: bool = True) -> Iterator[Server]:
    """A server on the cluster in `folder`, which is made if there is none.

    The data is elsewhere where an unprivileged user could not get into `folder` (see
    `find_home`); with keep=False it is deleted there at the end.
    """
    with supervised(make_folder(folder) / "logs") as supervisor:
        yield start_postgres(supervisor, folder, durable=durable, keep=keep)


def start_postgres(
    supervisor: Supervisor, folder: Path, *, durable: bool = True, keep: bool = True
) -> Server:
    """The same under a supervisor that is there already."""
    folder = make_folder(folder)
    supervisor.enter(exclusive_use(folder))
    home = find_cluster(folder)
    if not keep:
        supervisor.enter(deleted_at_end(home, folder))
    binaries = find_binaries(home.user, home.major_version())
    password = read_or_create(home.password_file, lambda: secrets.token_hex(16))
    if home.major_version() is None:
        _create_cluster(supervisor, binaries, home, durable=durable)
    port = free_port()
    (child,) = supervisor.start(_server_command(binaries, home, port, durable=durable))
    return Server(f"postgresql://{NAME}:{password}@{HOST}:{port}/postgres", child)


def _create_cluster(
    supervisor: Supervisor, binaries: Binaries, home: Cluster, *, durable: bool
) -> None:
    new = home.create_empty()
    locale = ["--encoding=UTF8", "--locale=C"]
    if binaries.major >= BUILTIN_LOCALE_MAJOR:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = Command(
        name="initdb",
        argv=[
            *(str(binaries.folder / "initdb"), "-D", str(new), "--username", NAME),
            *("--auth=scram-sha-256", f"--pwfile={home.password_file}", "--data-checksums"),
            *locale,
            *([] if durable else ["--no-sync"]),
        ],
        env=minimal_environment(),
        folder=new,
        user=home.user_to_change_to(),
    )
    supervisor.run(command)
    new.rename(home.data)  # whole or not at all


def _server_command(binaries: Binaries, home: Cluster, port: int, *, durable: bool) -> Command:
    settings = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": "",
        "max_connections": MAX_CONNECTIONS,
        "logging_collector": "off",
        "log_destination": "stderr",
        **({} if durable else NOT_DURABLE),
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    stale = stop_leftover_server(home.data)
    return Command(
        name="postgres",
        argv=[str(binaries.folder / "postgres"), "-D", str(home.data), *options],
        # A pid that a dead server left behind may be someone else's by now. This variable of
        # pg_ctl's has Postgres skip the look at that process, and only that.
        env=minimal_environment() | ({"PG_GRANDPARENT_PID": str(stale)} if stale else {}),
        folder=home.data,
        is_ready=home.is_ready,
        user=home.user_to_change_to(),
        stop_signal=signal.SIGINT,  # fast: sessions are cut off
        kill_signal=signal.SIGQUIT,  # immediate: recovery at the next start
        parent_death_signal=signal.SIGINT,
        stop_timeout=30.0,
        # Sessions of a server killed by -9 need a moment to notice.
        retried_error="pre-existing shared memory block",
    )
