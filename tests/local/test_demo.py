"""The demo, as a person runs it: to its end, twice at once, and interrupted."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.local import demo
from tests.support.processes import TIMEOUT

COMMAND = [sys.executable, "-m", "service", "demo"]


@contextmanager
def demonstration(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, started in `folder`, with its temporary files there."""
    with subprocess.Popen(  # noqa: S603
        COMMAND,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str], start: str) -> str:
    """The first line that starts so."""
    assert process.stdout is not None
    return next(line for line in process.stdout if line.startswith(start))


def left(folder: Path) -> list[str]:
    """Files in a folder for temporary ones, but for what root keeps for all runs."""
    return [path.name for path in folder.iterdir() if path.name != f"callsheet-{os.geteuid()}"]


def processes_of(folder: Path) -> list[str]:
    """The command lines that name the folder."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_text())
        except OSError:
            continue
    return [line for line in lines if str(folder) in line]


def test_two_demonstrations_at_once_hold_all_they_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(mine))
    with demonstration(other) as second:
        status = demo.run()
        said, _ = second.communicate(timeout=TIMEOUT)
    for status_of_one, output in ((status, capsys.readouterr().out), (second.returncode, said)):
        assert status_of_one == 0, output
        assert "✓ the audit: 0 violations" in output.splitlines()
        assert not [line for line in output.splitlines() if line.startswith("✗")]
    assert left(mine) == left(other) == []
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "moment", "status"),
    [(signal.SIGINT, "Up in", 130), (signal.SIGTERM, "Up in", 143), (signal.SIGINT, "Start", 130)],
)
def test_an_interrupted_demonstration_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, moment: str, status: int
) -> None:
    with demonstration(tmp_path) as process:
        line = line_of(process, moment)
        process.send_signal(number)
        assert process.wait(TIMEOUT) == status
    assert left(tmp_path) == []
    assert processes_of(tmp_path) == []
    if moment == "Up in":
        with pytest.raises(httpx.ConnectError):
            httpx.get(line.split()[-1])
