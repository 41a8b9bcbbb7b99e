"""`callsheet dev`, as a developer meets it: pasted, crashed, started again, stopped."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.local.dev import run, settings
from service.local.environment import environment_without_settings
from service.local.errors import LocalError
from service.local.folders import exclusive_use, temporary_folder
from service.local.ports import HOST, free_port
from service.local.processes import Supervisor
from service.local.stack import Stack
from service.local.waiting import wait_until
from tests.support.processes import TIMEOUT

LAST_LINE = "Ctrl-C stops it; the data is kept.\n"


@dataclass(frozen=True)
class Dev:
    """A running `callsheet dev`, and what it printed until it was ready."""

    process: subprocess.Popen[str]
    greeting: str

    def next_line_with(self, words: str) -> str:
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if words in line)

    def pasted(self) -> httpx.Response:
        """What its first curl line gets."""
        pasted = self.greeting.partition("\n  curl -sS ")[2].partition("\n  curl")[0]
        words = shlex.split(pasted.replace("\\\n", ""))
        url, headers, body = words[0], words[2:5:2], words[6]
        assert words[1:6:2] == ["-H", "-H", "-d"]
        return httpx.post(
            url,
            headers=dict(header.split(": ") for header in headers),
            content=Path(body.removeprefix("@")).read_bytes(),
        )

    def keys_listed(self) -> str:
        """What its line for other commands prints, in a shell that has no settings."""
        line = self.greeting.partition("Other commands:\n")[2].partition("\n")[0]
        setting, command = line.rsplit("; ", 1)
        assert shlex.split(command)[0].endswith("callsheet")
        python = shlex.join([sys.executable, "-m", "service", *shlex.split(command)[1:]])
        return subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", f"{setting}; {python}"],
            env=environment_without_settings(),
            capture_output=True,
            check=True,
            text=True,
            timeout=TIMEOUT,
        ).stdout

    def metrics_addresses(self) -> list[str]:
        """Where it says that the metrics of web and worker are."""
        line = next(x for x in self.greeting.splitlines() if x.startswith("Metrics"))
        web, other = line.removeprefix("Metrics").strip().split(", ")
        return [web, f"http://{HOST}{other.removeprefix('…')}"]

    def listed_ids(self) -> list[str]:
        """The ids that its second curl line lists."""
        words = shlex.split(self.greeting.rpartition("\n  curl -sS ")[2].partition("\n")[0])
        answer = httpx.get(words[0], headers=dict([words[2].split(": ")]))
        return [subject["id"] for subject in answer.json()["data"]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder("callsheet dev ") as path:
        yield path


@contextmanager
def dev(folder: Path, port: int) -> Iterator[Dev]:
    command = [sys.executable, "-m", "service", "dev", "--data", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        lines = []
        try:
            for line in process.stdout:
                lines.append(line)
                if line == LAST_LINE:
                    break
            yield Dev(process, "".join(lines))
        finally:
            process.terminate()


def running_in(folder: Path) -> dict[int, str]:
    """The processes that work in the folder, by /proc, and their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(folder):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                found[int(entry.name)] = " ".join(words)
    return found


def worker_pid(folder: Path) -> int:
    return next(pid for pid, words in running_in(folder).items() if "service worker" in words)


def lines_that_stay(started: Dev) -> list[str]:
    """The greeting without the addresses that may change with every start."""
    lines = started.greeting.splitlines()
    return [line for line in lines if not line.startswith(("Simulator", "Metrics"))]


def test_dev_can_be_pasted_from_and_killed_and_goes_on_with_its_data(folder: Path) -> None:
    port = free_port()
    with dev(folder, port) as first:
        assert f"http://{HOST}:{port}\n" in first.greeting
        created = first.pasted()
        assert created.status_code == 202
        assert f"http://{HOST}:{port}/docs\n" in first.greeting
        for address in first.metrics_addresses():
            assert "callsheet_build_info{" in httpx.get(address).text
        assert first.keys_listed().count("development") == 1
        assert (folder / "env").stat().st_mode & 0o777 == 0o600
        assert run(folder, port) == 1  # refused, while the first has the folder
        os.kill(worker_pid(folder), signal.SIGKILL)
        assert "worker was ended by SIGKILL" in first.next_line_with("worker")
        first.next_line_with("worker is up again")
        first.process.kill()
        assert wait_until(lambda: not running_in(folder), TIMEOUT)
    with dev(folder, port) as second:
        assert lines_that_stay(second) == lines_that_stay(first)
        assert created.json()["id"] in second.listed_ids()
        second.process.send_signal(signal.SIGINT)
        assert second.next_line_with("stopped") == "stopped\n"
        assert second.process.wait(TIMEOUT) == 0
        assert running_in(folder) == {}


def test_a_folder_in_use_is_named_on_stderr(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with exclusive_use(folder):
        assert run(folder, free_port()) == 1
    message = f"callsheet dev: {folder} is in use by another run (process {os.getpid()})\n"
    assert capsys.readouterr() == ("", message)


def test_a_variable_that_is_no_setting_is_named_on_stderr(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_LEASSE", "hidden")
    with exclusive_use(folder):
        assert run(folder, free_port()) == 1
    said = capsys.readouterr().err
    message = "callsheet dev: CALLSHEET_LEASSE is no setting; did you mean CALLSHEET_LEASE?\n"
    assert said.startswith(message)
    assert "hidden" not in said


def test_the_developers_settings_are_handed_on_and_a_taken_port_is_replaced() -> None:
    port = free_port()
    environ = {"CALLSHEET_POLL_AFTER": "3", "CALLSHEET_PORT": "1", "PATH": "/bin"}
    handed = settings(port, environ)
    assert handed.pop("CALLSHEET_INNER_PORT").count(",") == 1
    assert handed == {"CALLSHEET_POLL_AFTER": "3", "CALLSHEET_PORT": str(port)}
    assert settings(port, {"CALLSHEET_INNER_PORT": ""})["CALLSHEET_INNER_PORT"] == ""
    with socket.create_server((HOST, port)):
        assert settings(port, {})["CALLSHEET_PORT"] != str(port)


def test_a_command_that_fails_is_quoted(folder: Path) -> None:
    bare = Stack(Supervisor(folder), folder, {}, "http://127.0.0.1", "http://127.0.0.1")
    with pytest.raises(LocalError, match=r"callsheet migrate ended with status 2: CALLSHEET_\w+"):
        bare.call("migrate")
