"""Log files read back: the lines of one action, out of whatever else is in them."""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

MAX_LINE: Final = 65_536  # bytes; a longer line is none of those that are looked for
_ID: Final = re.compile(r"[!-~]{1,100}")


def ids_of_lines(file: BinaryIO, action: str, member: str) -> Iterator[str]:
    """The ids that lines of this action have as this member, in their order. A line is a JSON
    object, perhaps behind what a log collector has written before it; every other line is skipped,
    and the file may be of any size."""
    for line in _lines(file):
        if action.encode() in line and (id_ := _id_of(line, action, member)) is not None:
            yield id_


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines that have at most MAX_LINE bytes."""
    whole = True
    while part := file.readline(MAX_LINE):
        ended = part.endswith(b"\n") or len(part) < MAX_LINE  # or the file has
        if whole and ended:
            yield part
        whole = ended


def _id_of(line: bytes, action: str, member: str) -> str | None:
    try:
        entry = json.loads(line[line.find(b"{") :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("action") != action:
        return None
    id_ = entry.get(member)
    return id_ if isinstance(id_, str) and _ID.fullmatch(id_) else None
