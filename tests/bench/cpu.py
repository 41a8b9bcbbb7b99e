"""CPU time of processes, read from /proc; where there is none (macOS), nothing is told."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import process_time

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


def shown(spent: Usage) -> str:
    """In words, such as `web 80, Postgres 60`."""
    return ", ".join(f"{name} {microseconds:.0f}" for name, microseconds in spent.items())


def spin() -> float:
    """Milliseconds that a fixed piece of Python takes here, at best: by it microseconds of one
    machine can be compared with another's."""
    return min(_spin() for _ in range(3)) * 1000


def _spin() -> float:
    began, total = process_time(), 0
    for number in range(2_000_000):
        total += number
    return process_time() - began


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
