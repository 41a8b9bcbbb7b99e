"""CPU time of processes, read from /proc; where there is none (macOS), None."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Places in /proc/PID/stat after the name in parentheses; proc(5).
PARENT, OWN, ENDED_CHILDREN = 1, slice(11, 13), slice(13, 15)


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU of the web process, and of Postgres with all its processes."""

    web: float
    postgres: float


def usage(web: int, postgres: int) -> Usage | None:
    """So far, by the ids of the web process and of the postmaster."""
    if not (PROC / "self" / "stat").exists():
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return Usage(sum(map(int, _stat(web)[OWN])) / ticks, _family(postgres) / ticks)


def _family(parent: int) -> int:
    """Ticks of a process and its children; those of ended children are the parent's by then."""
    mine = _stat(parent)
    total = sum(map(int, (*mine[OWN], *mine[ENDED_CHILDREN])))
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                stat = _stat(int(folder.name))
                total += sum(map(int, stat[OWN])) if stat[PARENT] == str(parent) else 0
    return total


def _stat(process: int) -> list[str]:
    text = (PROC / str(process) / "stat").read_text()
    return text.rpartition(")")[2].split()
