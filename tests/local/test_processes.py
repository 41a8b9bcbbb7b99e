"""The supervisor: what it starts is ready or named in the error, and nothing outlives it."""

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from service.local.errors import LocalError
from service.local.folders import exclusive_use, make_folder, read_or_create, temporary_folder
from service.local.ports import HOST, free_port, is_free
from service.local.processes import Command, supervised
from service.local.waiting import wait_until
from tests.support.processes import TIMEOUT, file_contains, is_gone, start_program

ENVIRONMENT = {"PATH": os.defpath}

# A supervisor to be ended from outside; it prints the pids of its children.
STANDALONE = """
import pathlib, sys, time
from service.local.processes import Command, supervised

folder = pathlib.Path(sys.argv[1])
script = "trap 'echo {0} >> ended; exit' TERM; touch {0}; while :; do sleep 0.05; done"
with supervised(folder / "logs") as supervisor:
    for name in ("one", "two"):
        supervisor.start(Command(
            name=name,
            argv=["/bin/sh", "-c", script.format(name)],
            env={"PATH": "/bin:/usr/bin"},
            folder=folder,
            is_ready=lambda _pid: (folder / name).exists(),
        ))
    print(*(child.pid for child in supervisor.children.values()), flush=True)
    time.sleep(600)
"""


def shell(folder: Path, script: str, name: str = "child", **more: object) -> Command:
    options = {"name": name, "env": ENVIRONMENT, "folder": folder, **more}
    return Command(argv=["/bin/sh", "-c", script], **options)  # type: ignore[arg-type]


def test_a_child_logs_and_is_ended_with_the_block(tmp_path: Path) -> None:
    with supervised(tmp_path / "logs") as supervisor:
        (child,) = supervisor.start(shell(tmp_path, "echo hello; exec sleep 600"))
        pid = child.pid
        assert wait_until(lambda: file_contains(child.log, "hello"), TIMEOUT)
        assert not child.has_ended()
    assert is_gone(pid)


def test_an_exception_ends_the_children_in_reverse_order(tmp_path: Path) -> None:
    script = "trap 'echo {0} >> ended; exit' TERM; echo up > {0}; while :; do sleep 0.05; done"
    commands = [
        shell(
            tmp_path, script.format(name), name, is_ready=lambda _, n=name: (tmp_path / n).exists()
        )
        for name in ("one", "two", "three")
    ]
    with suppress(RuntimeError), supervised(tmp_path / "logs") as supervisor:
        supervisor.start(*commands)
        raise RuntimeError
    assert (tmp_path / "ended").read_text().split() == ["three", "two", "one"]


def test_a_child_that_ends_before_it_is_ready_is_named_with_its_last_words(tmp_path: Path) -> None:
    command = shell(tmp_path, "echo no licence; exit 3", is_ready=lambda _pid: False)
    with supervised(tmp_path / "logs") as supervisor, pytest.raises(LocalError) as raised:
        supervisor.start(command)
    assert "child ended with status 3 before it was ready" in str(raised.value)
    assert "no licence" in str(raised.value)


def test_a_child_that_is_never_ready_is_given_up_and_ended(tmp_path: Path) -> None:
    command = shell(
        tmp_path, "echo $$; exec sleep 600", is_ready=lambda _pid: False, start_timeout=0.2
    )
    with supervised(tmp_path / "logs") as supervisor, pytest.raises(LocalError) as raised:
        supervisor.start(command)
    assert "child was not ready after 0.2 s" in str(raised.value)
    assert is_gone(int(str(raised.value).split()[-1]))


def test_a_start_that_fails_for_a_passing_reason_is_tried_again(tmp_path: Path) -> None:
    script = "test -e once && { touch twice; exec sleep 600; }; touch once; echo in use; exit 1"
    twice = tmp_path / "twice"
    command = shell(tmp_path, script, is_ready=lambda _pid: twice.exists(), retried_error="in use")
    with supervised(tmp_path / "logs") as supervisor:
        (child,) = supervisor.start(command)
        assert not child.has_ended()


def test_a_child_that_will_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $! > grandchild; while :; do sleep 600; done"
    grandchild = tmp_path / "grandchild"
    command = shell(
        tmp_path, script, is_ready=lambda _: file_contains(grandchild, "\n"), stop_timeout=0.1
    )
    with supervised(tmp_path / "logs") as supervisor:
        (child,) = supervisor.start(command)
        pid = child.pid
    assert is_gone(pid)
    assert wait_until(lambda: is_gone(int(grandchild.read_text())), TIMEOUT)


def test_a_child_that_died_is_noticed_described_and_can_be_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path / "logs") as supervisor:
        (child,) = supervisor.start(shell(tmp_path, "echo up; exec sleep 600"))
        before = child.pid
        assert supervisor.ended() == []
        os.kill(before, signal.SIGKILL)
        assert wait_until(lambda: supervisor.ended() == [child], TIMEOUT)
        assert child.exit_description() == "child was ended by SIGKILL"
        child.restart()
        assert child.pid != before
        assert supervisor.ended() == []


def test_a_stopped_child_can_be_resumed_and_ended(tmp_path: Path) -> None:
    with supervised(tmp_path / "logs") as supervisor:
        (child,) = supervisor.start(shell(tmp_path, "exec sleep 600"))
        pid = child.pid
        child.send(signal.SIGSTOP)
        child.stop()
        assert is_gone(pid)
        assert supervisor.ended() == []
        child.stop()
        with pytest.raises(LocalError, match="child is not running"):
            assert child.pid


def test_a_child_is_not_started_twice(tmp_path: Path) -> None:
    with supervised(tmp_path / "logs") as supervisor:
        (child,) = supervisor.start(shell(tmp_path, "exec sleep 600"))
        with pytest.raises(LocalError, match="child was started already"):
            child.spawn()


def test_a_program_that_ends_by_itself_must_end_well(tmp_path: Path) -> None:
    with supervised(tmp_path / "logs") as supervisor:
        supervisor.run(shell(tmp_path, "echo fine > done"))
        assert file_contains(tmp_path / "done", "fine")
        with pytest.raises(LocalError, match="child ended with status 4"):
            supervisor.run(shell(tmp_path, "exit 4"))
        with pytest.raises(LocalError, match=r"child was not done after 0\.1 s"):
            supervisor.run(shell(tmp_path, "exec sleep 600", start_timeout=0.1))


def test_the_last_log_of_a_former_run_is_kept(tmp_path: Path) -> None:
    for words in ("first run", "second run"):
        with supervised(tmp_path / "logs") as supervisor:
            supervisor.run(shell(tmp_path, f"echo {words}"))
    assert file_contains(tmp_path / "logs" / "child.log", "second run")
    assert file_contains(tmp_path / "logs" / "child.before.log", "first run")


def test_children_can_be_started_from_another_thread(tmp_path: Path) -> None:
    ends: list[bool] = []

    def work() -> None:
        with supervised(tmp_path / "logs") as supervisor:
            (child,) = supervisor.start(shell(tmp_path, "exec sleep 600"))
            pid = child.pid
        ends.append(is_gone(pid))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ends == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_supervisor_asked_to_end_ends_its_children_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    supervisor, children = standalone(tmp_path)
    supervisor.send_signal(number)
    supervisor.communicate(timeout=TIMEOUT)
    assert (tmp_path / "ended").read_text().split() == ["two", "one"]
    assert all(is_gone(pid) for pid in children)


def test_a_supervisor_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    supervisor, children = standalone(tmp_path)
    supervisor.kill()
    supervisor.communicate(timeout=TIMEOUT)
    assert all(wait_until(lambda pid=pid: is_gone(pid), TIMEOUT) for pid in children)  # type: ignore[misc]


def standalone(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    process, pids = start_program(STANDALONE, str(folder))
    return process, [int(pid) for pid in pids.split()]


def test_free_ports_differ_and_are_free_until_someone_listens() -> None:
    first, second = free_port(), free_port()
    assert first != second
    with socket.create_server((HOST, first)):
        assert not is_free(first)
    assert is_free(second)


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    with exclusive_use(tmp_path):
        message = f"in use by another run \\(process {os.getpid()}\\)"
        with pytest.raises(LocalError, match=message), exclusive_use(tmp_path):
            pass
    with exclusive_use(tmp_path):
        pass


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"file/folder cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "folder")
    with pytest.raises(LocalError, match=r"file cannot be used"), exclusive_use(tmp_path / "file"):
        pass


def test_a_temporary_folder_goes_with_what_is_in_it() -> None:
    with temporary_folder("callsheet-test-") as folder:
        (folder / "file").touch()
    assert not folder.exists()


def test_a_secret_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    assert read_or_create(secret, lambda: "first") == "first"
    assert read_or_create(secret, lambda: "second") == "first"
    assert secret.stat().st_mode & 0o777 == 0o600
