"""Where a cluster's files are, whose they are, and whether a server still runs on them."""

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

# How a server that outlived its supervisor is ended, and how long each may take in seconds.
STOP_SIGNALS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 2.0))


@dataclass(frozen=True, slots=True)
class Cluster:
    """The folder that holds a cluster, and the user who runs it."""

    folder: Path
    user: User

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    @property
    def origin_file(self) -> Path:
        """Where a cluster that had to be elsewhere was wanted."""
        return self.folder / "origin"

    def user_to_change_to(self) -> User | None:
        """The user to change to; None if that is us."""
        return None if self.user == current_user() else self.user

    def major_version(self) -> int | None:
        """The version the cluster was made with; None if there is none yet."""
        with suppress(FileNotFoundError):
            return int((self.data / "PG_VERSION").read_text())
        return None

    def create_empty(self) -> Path:
        """An empty folder to make the cluster in; what a broken attempt left is deleted."""
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        for path in (new, self.password_file):
            if path.exists():
                os.chown(path, self.user.uid, self.user.gid)
        return new

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this process id says so."""
        lines = _pid_file_lines(self.data)
        mine = len(lines) > STATUS_LINE and lines[PID_LINE] == str(pid)
        return mine and lines[STATUS_LINE].strip() == "ready"


def find_cluster(folder: Path) -> Cluster:
    """`folder`, or as root, if the server's user cannot get into it, one elsewhere, always the
    same for the same `folder`. A cluster that is there is used, by its owner.
    """
    for place in (folder, *_fallback_places(folder, make=False)):
        if (place / "data").is_dir():
            return _existing_cluster(place)
    user = unprivileged_user()
    home = Cluster(folder, user)
    if user.can_use(home.create_empty()):
        return home
    shutil.rmtree(home.folder / "data.new")
    _delete_abandoned_clusters()
    for place in _fallback_places(folder, make=True):
        home = Cluster(make_folder(place), user)
        home.origin_file.write_text(str(folder))
        if user.can_use(home.create_empty()):
            return home
    msg = f"no folder for Postgres's data was found that user {user.uid} can use"
    raise LocalError(msg)


def _fallback_places(folder: Path, *, make: bool) -> Iterator[Path]:
    if is_root():
        yield from (there / f"postgres-{digest(folder)}" for there in fallback_folders(make=make))


def _delete_abandoned_clusters() -> None:
    """Delete clusters elsewhere that were wanted in a temporary folder which is gone by now."""
    temporary = Path(tempfile.gettempdir()).resolve()
    for place in (
        place for there in fallback_folders(make=False) for place in there.glob("postgres-*")
    ):
        home = Cluster(place, current_user())
        origin = Path(home.origin_file.read_text()) if home.origin_file.exists() else Path("/")
        gone = origin.is_relative_to(temporary) and not origin.exists()
        if gone and not _runs_on(_pid_in_file(home.data), home.data):
            shutil.rmtree(place, ignore_errors=True)


def _existing_cluster(place: Path) -> Cluster:
    home = Cluster(place, owner_of(place / "data"))
    usable = home.user == current_user() or (is_root() and home.user.can_use(home.data))
    if not usable or home.user.uid == 0:
        msg = f"{home.data} belongs to user {home.user.uid}, who cannot run a server on it"
        raise LocalError(msg)
    return home


@contextmanager
def deleted_at_end(home: Cluster, wanted: Path) -> Iterator[None]:
    """Deletes a cluster that had to be elsewhere; what is in `wanted` is its owner's to delete."""
    try:
        yield
    finally:
        if home.folder != wanted:
            shutil.rmtree(home.folder, ignore_errors=True)


def stop_leftover_server(data: Path) -> int | None:
    """End a server that still runs on this data (the caller holds the folder, so it is nobody's).

    Returns the pid in a stale pid file, whoever may have it now.
    """
    pid = _pid_in_file(data)
    if pid == 0:
        return None
    for number, patience in STOP_SIGNALS:
        if not _runs_on(pid, data):
            return pid
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a stopped one could not act on it
        wait_until(lambda: not _runs_on(pid, data), patience)
    return pid


def _pid_in_file(data: Path) -> int:
    """The process that the pid file names; 0 if there is none."""
    lines = _pid_file_lines(data)
    return int(lines[PID_LINE]) if lines and lines[PID_LINE].isdigit() else 0


def _runs_on(pid: int, data: Path) -> bool:
    """Whether that process is a server on this data: Postgres works in its data folder."""
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
