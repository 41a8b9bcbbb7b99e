"""CPU time of processes, read from /proc; where there is none (macOS), nothing is told."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

PROC = Path("/proc")
# Places in /proc/PID/stat after the name in parentheses; proc(5).
PARENT, OWN, ENDED_CHILDREN = 1, slice(11, 13), slice(13, 15)

Usage = Mapping[str, float]  # by the names that the processes were given


def usage(processes: Mapping[str, int]) -> Usage:
    """Seconds of CPU so far of each of these, by its id, with all its children: Postgres is many
    processes. Empty where the system does not tell."""
    if not (PROC / "self" / "stat").exists():
        return {}
    ticks = os.sysconf("SC_CLK_TCK")
    return {name: _family(process) / ticks for name, process in processes.items()}


def each(before: Usage, after: Usage, count: int) -> Usage:
    """Microseconds for each of so many items."""
    return {name: (after[name] - before[name]) * 1e6 / count for name in before}


def middle(some: Sequence[Usage]) -> Usage:
    """The median over measurements, by process."""
    return {name: median(usage[name] for usage in some) for name in (some[0] if some else ())}


def shown(some: Sequence[Usage]) -> str:
    """The same in words, such as `web 80, Postgres 60`: for a column headed HEAD."""
    return ", ".join(f"{name} {spent:.0f}" for name, spent in middle(some).items())


HEAD = "   CPU µs each"


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
