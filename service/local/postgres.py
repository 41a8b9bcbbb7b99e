"""Postgres for development and tests: a cluster in a folder, served on a free port."""

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
BUILTIN_LOCALE_MAJOR = 17  # first major version whose C.UTF-8 needs nothing of the system

# For tests alone: a crash may lose the last commits, and a crash of the machine everything.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def postgres(folder: Path, *, durable: bool = True, keep: bool = True) -> Iterator[Server]:
    """Run a server on the cluster in `folder`, which is created if there is none.

    The data is elsewhere if the server's user cannot get into `folder` (see `find_cluster`); with
    keep=False it is deleted there at the end.
    """
    with supervised(make_folder(folder) / "logs") as supervisor:
        yield start_postgres(supervisor, folder, durable=durable, keep=keep)


def start_postgres(
    supervisor: Supervisor, folder: Path, *, durable: bool = True, keep: bool = True
) -> Server:
    """Start a server as `postgres` does, as a child of this supervisor."""
    folder = make_folder(folder)
    supervisor.enter(exclusive_use(folder))
    cluster = find_cluster(folder)
    if not keep:
        supervisor.enter(deleted_at_end(cluster, folder))
    binaries = find_binaries(cluster.user, cluster.major_version())
    password = read_or_create(cluster.password_file, lambda: secrets.token_hex(16))
    if cluster.major_version() is None:
        _create_cluster(supervisor, binaries, cluster, durable=durable)
    port = free_port()
    (child,) = supervisor.start(_server_command(binaries, cluster, port, durable=durable))
    return Server(f"postgresql://{NAME}:{password}@{HOST}:{port}/postgres", child)


def _create_cluster(
    supervisor: Supervisor, binaries: Binaries, cluster: Cluster, *, durable: bool
) -> None:
    new = cluster.create_empty()
    locale = ["--encoding=UTF8", "--locale=C"]
    if binaries.major >= BUILTIN_LOCALE_MAJOR:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = Command(
        name="initdb",
        argv=[
            *(str(binaries.folder / "initdb"), "-D", str(new), "--username", NAME),
            *("--auth=scram-sha-256", f"--pwfile={cluster.password_file}", "--data-checksums"),
            *locale,
            *([] if durable else ["--no-sync"]),
        ],
        env=minimal_environment(),
        folder=new,
        user=cluster.user_to_change_to(),
    )
    supervisor.run(command)
    new.rename(cluster.data)  # whole or not at all


def _server_command(binaries: Binaries, cluster: Cluster, port: int, *, durable: bool) -> Command:
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
    stale_pid = stop_leftover_server(cluster.data)
    return Command(
        name="postgres",
        argv=[str(binaries.folder / "postgres"), "-D", str(cluster.data), *options],
        # The pid that a dead server left in its file may be another process's by now. With this
        # variable, which pg_ctl sets, Postgres does not check that process; nothing else changes.
        env=minimal_environment() | ({"PG_GRANDPARENT_PID": str(stale_pid)} if stale_pid else {}),
        folder=cluster.data,
        is_ready=cluster.is_ready,
        user=cluster.user_to_change_to(),
        stop_signal=signal.SIGINT,  # fast: sessions are cut off
        kill_signal=signal.SIGQUIT,  # immediate: recovery at the next start
        parent_death_signal=signal.SIGINT,
        stop_timeout=30.0,
        # Sessions of a server that was killed by SIGKILL end a moment later.
        retried_error="pre-existing shared memory block",
    )
