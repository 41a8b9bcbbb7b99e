"""Processes as a test sees them from outside: whether one is there, and programs to end."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

TIMEOUT = 20.0  # seconds until a test gives up


def is_gone(pid: int) -> bool:
    """Whether the process has ended; also if it is a zombie, which the first process of a container
    may never reap.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def file_contains(file: Path, text: str) -> bool:
    """Whether the file is there and has the text in it."""
    return file.exists() and text in file.read_text()


def start_program(script: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a Python script as a process; the process, and the first line it prints."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline()
