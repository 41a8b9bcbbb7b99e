"""The user a server runs as: the current one, or an unprivileged one if we are root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from service.local.environment import minimal_environment
from service.local.errors import LocalError

# Accounts that systems have; none is added.
UNPRIVILEGED = ("nobody", "daemon", "postgres")


@dataclass(frozen=True, slots=True)
class User:
    """A user of the machine, by ids."""

    uid: int  # of the user
    gid: int  # of the group

    def can_run(self, *command: str) -> bool:
        """Whether the command exits with 0 when it is run as this user."""
        return self.output(*command) is not None

    def output(self, *command: str) -> str | None:
        """Output of the command, run as this user in `/`; None if it fails."""
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
    """The current user; as root, an account without rights, as Postgres refuses to run as root."""
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
    """The user who owns the folder."""
    status = folder.stat()
    return User(status.st_uid, status.st_gid)
