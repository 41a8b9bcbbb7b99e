"""Which user a server runs as: our own, or an unprivileged one where we are root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.errors import LocalError

# Accounts that every system has; none is ever added.
UNPRIVILEGED = ("nobody", "daemon", "postgres")


@dataclass(frozen=True, slots=True)
class User:
    """Another user to run as."""

    uid: int
    gid: int

    def can_run(self, *command: str) -> bool:
        """Whether the command, run as this user, exits with 0."""
        return self.output(*command) is not None

    def output(self, *command: str) -> str | None:
        """What the command prints, run as this user from `/`; None if it cannot or fails."""
        other = self != current_user()
        try:
            done = subprocess.run(  # noqa: S603
                command,
                user=self.uid if other else None,
                group=self.gid if other else None,
                extra_groups=[] if other else None,
                cwd="/",
                env=minimal_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                text=True,
                timeout=30,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    def can_use(self, folder: Path) -> bool:
        """Whether this user can get into the folder and write there."""
        return self.can_run("/bin/sh", "-c", 'cd "$1" && test -w .', "sh", str(folder))


def is_root() -> bool:
    return os.geteuid() == 0


def current_user() -> User:
    return User(os.geteuid(), os.getegid())


def unprivileged_user() -> User:
    """Ourselves; as root, an account without rights, as Postgres refuses to run as root."""
    if not is_root():
        return current_user()
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        user = User(entry.pw_uid, entry.pw_gid)
        if user.uid != 0 and user.can_run("/bin/sh", "-c", ":"):
            return user
    msg = f"as root Postgres has to run as another user, and none of {UNPRIVILEGED} can be used"
    raise LocalError(msg)


def owner_of(folder: Path) -> User:
    """The user whose folder it is."""
    status = folder.stat()
    return User(status.st_uid, status.st_gid)
