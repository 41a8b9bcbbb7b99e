"""The file that has the last moment of an installation, outside its database: one line, the id of
the installation and the moment. Processes of one host may share it."""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from service.kit.timestamps import format_rfc3339, parse_rfc3339

MAX_BYTES: Final = 200  # that are read of it


def read_moment(path: Path, installation_id: str) -> datetime | None:
    """The moment that the file has of this installation; None if it has none. OSError if it cannot
    be read, though it is there."""
    try:
        with open(path, "rb", opener=_opened) as file:
            words = (file.read(MAX_BYTES) or b"").decode(errors="replace").split()
    except FileNotFoundError:
        return None
    if len(words) != 2 or words[0] != installation_id:  # noqa: PLR2004 - id and moment
        return None
    return parse_rfc3339(words[1])


def write_moment(path: Path, installation_id: str, moment: datetime) -> None:
    """Write the moment in place of the one before; whoever reads meanwhile finds one of the two.
    OSError if that cannot be done."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with open(beside, "w", opener=_created) as file:
        file.write(f"{installation_id} {format_rfc3339(moment)}\n")
    beside.replace(path)


def _opened(name: str, flags: int) -> int:
    """Open without waiting, as a pipe would let us wait for ever; its descriptor."""
    return os.open(name, flags | os.O_NONBLOCK)


def _created(name: str, flags: int) -> int:
    """Open without waiting, and make the file if there is none; its descriptor. A link is refused:
    others may have put one into a folder that all may write."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
