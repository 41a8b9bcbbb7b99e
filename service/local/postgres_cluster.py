"""A cluster's files: where they are, whose they are, and the server that still runs on them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.local.errors import LocalError
from service.local.folders import digest, fallback_folders, make_folder
from service.local.users import User, current_user, is_root, owner_of, unprivileged_user
from service.local.waiting import wait_until

PID_LINE, STATUS_LINE = 0, 7  # of postmaster.pid; Postgres's source, utils/pidfile.h

# Sent one after the other to a leftover server, and the seconds to wait after each.
STOP_SIGNALS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 2.0))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster of Postgres, or the place for one."""

    folder: Path  # that holds the data folder and the password
    user: User  # who runs the server

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    @property
    def origin_file(self) -> Path:
        """File with the path of the caller's folder, if the cluster had to be elsewhere."""
        return self.folder / "origin"

    def user_to_change_to(self) -> User | None:
        """The user to change to; None for the current one."""
        return None if self.user == current_user() else self.user

    def major_version(self) -> int | None:
        """Major version of the cluster; None if it is not created yet."""
        with suppress(FileNotFoundError):
            return int((self.data / "PG_VERSION").read_text())
        return None

    def create_empty(self) -> Path:
        """Create an empty folder to make the cluster in, in place of one that is left over."""
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        for path in (new, self.password_file):
            if path.exists():
                os.chown(path, self.user.uid, self.user.gid)
        return new

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this process id takes connections."""
        lines = _pid_file_lines(self.data)
        mine = len(lines) > STATUS_LINE and lines[PID_LINE] == str(pid)
        return mine and lines[STATUS_LINE].strip() == "ready"


def find_cluster(folder: Path) -> Cluster:
    """The cluster of `folder`. As root, if the server's user cannot get into `folder`, it is in a
    fallback folder, always the same one; an existing cluster is run by its owner.
    """
    for place in (folder, *_fallback_places(folder, make=False)):
        if (place / "data").is_dir():
            return _existing_cluster(place)
    user = unprivileged_user()
    cluster = Cluster(folder, user)
    if user.can_use(cluster.create_empty()):
        return cluster
    shutil.rmtree(cluster.folder / "data.new")
    _delete_abandoned_clusters()
    for place in _fallback_places(folder, make=True):
        cluster = Cluster(make_folder(place), user)
        cluster.origin_file.write_text(str(folder))
        if user.can_use(cluster.create_empty()):
            return cluster
    msg = f"no folder for Postgres's data was found that user {user.uid} can use"
    raise LocalError(msg)


def _fallback_places(folder: Path, *, make: bool) -> Iterator[Path]:
    if is_root():
        yield from (there / f"postgres-{digest(folder)}" for there in fallback_folders(make=make))


def _delete_abandoned_clusters() -> None:
    """Delete clusters in fallback folders whose temporary folder is gone."""
    temporary = Path(tempfile.gettempdir()).resolve()
    for place in (
        place for there in fallback_folders(make=False) for place in there.glob("postgres-*")
    ):
        cluster = Cluster(place, current_user())
        origin = (
            Path(cluster.origin_file.read_text()) if cluster.origin_file.exists() else Path("/")
        )
        gone = origin.is_relative_to(temporary) and not origin.exists()
        if gone and not _runs_on(_pid_in_file(cluster.data), cluster.data):
            shutil.rmtree(place, ignore_errors=True)


def _existing_cluster(place: Path) -> Cluster:
    cluster = Cluster(place, owner_of(place / "data"))
    usable = cluster.user == current_user() or (is_root() and cluster.user.can_use(cluster.data))
    if not usable or cluster.user.uid == 0:
        msg = f"{cluster.data} belongs to user {cluster.user.uid}, who cannot run a server on it"
        raise LocalError(msg)
    return cluster


@contextmanager
def deleted_at_end(cluster: Cluster, wanted: Path) -> Iterator[None]:
    """Delete the cluster at the end if it is not in `wanted`, the folder of the caller."""
    try:
        yield
    finally:
        if cluster.folder != wanted:
            shutil.rmtree(cluster.folder, ignore_errors=True)


def stop_leftover_server(data: Path) -> int | None:
    """Stop a server that still runs on this data; the caller holds the lock on its folder.

    Returns the pid in the stale pid file, which may be another process's by now; None without one.
    """
    pid = _pid_in_file(data)
    if pid == 0:
        return None
    for number, patience in STOP_SIGNALS:
        if not _runs_on(pid, data):
            return pid
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a stopped process could not act on it
        wait_until(lambda: not _runs_on(pid, data), patience)
    return pid


def _pid_in_file(data: Path) -> int:
    """Process id in the pid file; 0 if there is none."""
    lines = _pid_file_lines(data)
    return int(lines[PID_LINE]) if lines and lines[PID_LINE].isdigit() else 0


def _runs_on(pid: int, data: Path) -> bool:
    """Whether the process is a server on this data: Postgres works in its data folder."""
    if sys.platform != "linux":
        command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        done = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603
        return f"postgres -D {data} " in done.stdout
    with suppress(OSError):
        about = Path(f"/proc/{pid}")
        program = (about / "exe").readlink().name  # "postgres (deleted)" after a reinstallation
        return program.startswith("postgres") and (about / "cwd").readlink() == data
    return False


def _pid_file_lines(data: Path) -> list[str]:
    with suppress(OSError):
        return (data / "postmaster.pid").read_text().splitlines()
    return []
