"""Looks from outside: which processes are there, and a supervisor of its own to be ended."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

TIMEOUT = 20.0  # seconds until a test gives up


def is_gone(pid: int) -> bool:
    """Whether no such process is there, or only its entry, which whoever adopted it has not read
    (the first process of a container may never do so).
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def file_contains(file: Path, text: str) -> bool:
    return file.exists() and text in file.read_text()


def start_program(script: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A Python program in a process of its own, and the first line it prints."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline()
