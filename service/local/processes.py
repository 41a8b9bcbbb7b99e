"""A small supervisor: starts named processes, waits until they are ready, leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from service.local import launch
from service.local.errors import LocalError
from service.local.signals import exit_on_signals, signals_deferred
from service.local.users import User
from service.local.waiting import wait_until

LOG_TAIL_LINES = 20  # lines of a log shown with an error

Entered = TypeVar("Entered")


def _ready_at_once(_pid: int) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run and how to treat it. Durations are seconds.

    `ready` is given the process id and says whether the program can be used. `crash` ends it as a
    fault would; `orphan` is sent by the kernel when we are gone ourselves (Linux). A start that
    fails with `passing` in its log is tried again until `patience` is over.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    folder: Path
    is_ready: Callable[[int], bool] = _ready_at_once
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    parent_death_signal: signal.Signals = signal.SIGKILL
    start_timeout: float = 30.0
    stop_timeout: float = 10.0
    retried_error: str | None = None


class Child:
    """One named process, which may be ended and started again; its output goes to `log`.

    The kernel ties the `orphan` signal to the thread that starts the process, so start it from
    one that lasts.
    """

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        return self._running_process().pid

    def spawn(self) -> None:
        """Start it, without waiting until it is ready."""
        if self._process is not None:
            msg = f"{self.command.name} was started already"
            raise LocalError(msg)
        user = self.command.user
        with signals_deferred(), self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-I", "-S", launch.__file__),
                    *(str(os.getpid()), str(int(self.command.parent_death_signal))),
                    f"{user.uid}:{user.gid}" if user else "-",
                    *self.command.argv,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.command.folder,
                env=self.command.env,
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            )

    def wait_ready(self) -> None:
        """LocalError if it ends or `patience` is over before it is ready."""
        deadline = time.monotonic() + self.command.start_timeout
        while wait_until(self._ready_or_ended, deadline - time.monotonic()):
            if not self.has_ended():
                return
            if not self._may_retry():
                raise LocalError(
                    self.with_log_tail(f"{self.exit_description()} before it was ready")
                )
            self.kill()
            self.spawn()
        msg = f"{self.command.name} was not ready after {self.command.start_timeout:g} s"
        raise LocalError(self.with_log_tail(msg))

    def start(self) -> None:
        self.spawn()
        self.wait_ready()

    def has_ended(self) -> bool:
        """Whether it ended without having been asked to. Leaves it unreaped where that can be
        asked for, so that its group's number cannot be anyone else's when the group is ended.
        """
        process = self._process
        if process is None or process.returncode is not None:
            return process is not None
        if sys.platform == "darwin":
            return process.poll() is not None
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait_ended(self) -> int:
        """The exit status of a program that ends by itself; LocalError when `patience` is over."""
        if not wait_until(self.has_ended, self.command.start_timeout):
            msg = f"{self.command.name} was not done after {self.command.start_timeout:g} s"
            raise LocalError(self.with_log_tail(msg))
        return self._reap()

    def send(self, number: signal.Signals) -> None:
        """A signal, for tests that stop (SIGSTOP) and resume (SIGCONT) a process."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> None:
        """Send the signal, wait for the end, kill it and its group after `grace`."""
        if self._process is None:
            return
        with signals_deferred():
            self.send(number)
            self.send(signal.SIGCONT)  # a stopped one could not act on it
            wait_until(self.has_ended, self.command.stop_timeout)
            self._reap()
            self._process = None

    def stop(self) -> None:
        """In good order. Nothing happens if it is not running."""
        self.end(self.command.stop_signal)

    def kill(self) -> None:
        """As a fault would: Valkey and our own programs by SIGKILL, Postgres by SIGQUIT."""
        self.end(self.command.kill_signal)

    def restart(self) -> None:
        """Killed if it still runs, then started again, and ready."""
        self.kill()
        self.start()

    def exit_description(self) -> str:
        """How it ended, in words; only for one that has."""
        status = self._reap()
        if status < 0:
            return f"{self.command.name} was ended by {signal.Signals(-status).name}"
        return f"{self.command.name} ended with status {status}"

    def with_log_tail(self, message: str) -> str:
        """The message, and under it the last lines logged since the start."""
        lines = self._log_since_start().splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"{message}; {self.log} ends with:", *(f"  {line}" for line in lines)])

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            msg = f"{self.command.name} is not running"
            raise LocalError(msg)
        return self._process

    def _ready_or_ended(self) -> bool:
        return self.has_ended() or self.command.is_ready(self.pid)

    def _may_retry(self) -> bool:
        return (
            self.command.retried_error is not None
            and self.command.retried_error in self._log_since_start()
        )

    def _log_since_start(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _reap(self) -> int:
        """The exit status; whatever is left of the process and its group is killed first."""
        process = self._running_process()
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


class Supervisor:
    """Children that are stopped in reverse order; `logs` is the folder for their output."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.children: dict[str, Child] = {}
        self._stack = ExitStack()

    def enter(self, context: AbstractContextManager[Entered]) -> Entered:
        """Left together with the children, in its place in the order."""
        return self._stack.enter_context(context)

    def close(self) -> None:
        """Stop all; what asks us to end meanwhile waits until that is done."""
        with signals_deferred():
            self._stack.close()

    def add(self, command: Command) -> Child:
        """A child that is not started yet. The log of a former run is kept, the last one."""
        log = self.logs / f"{command.name}.log"
        if log.exists():
            log.replace(log.with_suffix(".before.log"))
        log.touch(mode=0o600)
        child = self.children[command.name] = Child(command, log)
        self._stack.callback(child.stop)
        return child

    def start(self, *commands: Command) -> list[Child]:
        """All at once; back when all are ready."""
        children = [self.add(command) for command in commands]
        for child in children:
            child.spawn()
        for child in children:
            child.wait_ready()
        return children

    def run(self, command: Command) -> None:
        """A program that ends by itself; LocalError if not with status 0."""
        child = self.add(command)
        child.spawn()
        if child.wait_ended() != 0:
            raise LocalError(child.with_log_tail(child.exit_description()))
        del self.children[command.name]

    def ended(self) -> list[Child]:
        """The children that ended without having been asked to."""
        return [child for child in self.children.values() if child.has_ended()]


@contextmanager
def supervised(logs: Path) -> Iterator[Supervisor]:
    """A supervisor whose children end with the block: at its end, by an exception, Ctrl-C,
    SIGTERM or SIGHUP; and by kill -9, too, on Linux.
    """
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    supervisor = Supervisor(logs)
    with exit_on_signals():
        try:
            yield supervisor
        finally:
            supervisor.close()
