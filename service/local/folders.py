"""Data folders: their permissions, the lock on them, and small files of secrets in them."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from service.local.errors import LocalError
from service.local.users import is_root

PERSISTENT_TMP = Path("/var/tmp")  # noqa: S108 survives a reboot; made safe in `fallback_folders`


def make_folder(path: Path) -> Path:
    """Create the folder if it is missing; its absolute path. Others can pass through root's folder,
    for an unprivileged server's data in it, but not list it. LocalError if it cannot be created.
    """
    try:
        path.mkdir(mode=0o711 if is_root() else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path} cannot be made: {error.strerror}"
        raise LocalError(msg) from None
    return path.resolve()


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder with the permissions of `make_folder`, deleted at the end."""
    path = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    if is_root():
        path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def exclusive_use(folder: Path) -> Iterator[None]:
    """Lock the folder against other runs; LocalError if one holds the lock. It ends with the
    process, even by kill -9.
    """
    try:
        lock = os.fdopen(_open_private(folder / ".lock", os.O_RDWR | os.O_CREAT), "r+")
    except OSError as error:
        msg = f"{folder} cannot be used: {error.strerror}"
        raise LocalError(msg) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"{folder} is in use by another run (process {lock.read().strip()})"
            raise LocalError(msg) from None
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def read_or_create(path: Path, make: Callable[[], str]) -> str:
    """The text of the file; if there is none, it is written with `make()`, for its owner alone."""
    with suppress(FileNotFoundError):
        return path.read_text()
    text = make()
    write_private(path, text)
    return text


def write_private(path: Path, text: str) -> None:
    """Write the file, whole or not at all, readable by its owner alone."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(_open_private(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(text)
    new.replace(path)


def fallback_folders(*, make: bool) -> Iterator[Path]:
    """Root's own folders that other users can pass through, but neither list nor write to.

    They are in folders where anyone may create one of that name first: such a one is not used.
    """
    bases = dict.fromkeys((PERSISTENT_TMP.resolve(), Path(tempfile.gettempdir()).resolve()))
    for path in (base / f"callsheet-{os.geteuid()}" for base in bases):
        if _is_own(path, make=make):
            yield path


def _is_own(path: Path, *, make: bool) -> bool:
    try:
        if make:
            path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        path.chmod(0o711)
    except OSError:
        return False
    return True


def digest(*texts: object) -> str:
    """The first 16 hex digits of the SHA-256 of the texts."""
    return sha256("\0".join(map(str, texts)).encode()).hexdigest()[:16]


def _open_private(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
