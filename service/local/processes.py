"""A process supervisor: starts named processes, waits until they are ready, leaves none behind."""

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

LOG_TAIL_LINES = 20  # shown with an error

Entered = TypeVar("Entered")


def _ready_at_once(_pid: int) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program, and how it is started and stopped. Durations are seconds."""

    name: str  # of the process and of its log
    argv: Sequence[str]  # the program and its arguments
    env: Mapping[str, str] = field(repr=False)  # all variables of the process
    folder: Path  # working directory
    is_ready: Callable[[int], bool] = _ready_at_once  # takes the process id
    user: User | None = None  # to run as; None for the current one
    stop_signal: signal.Signals = signal.SIGTERM  # asks it to end
    kill_signal: signal.Signals = signal.SIGKILL  # ends it as a fault would
    parent_death_signal: signal.Signals = signal.SIGKILL  # sent when we end ourselves (Linux)
    start_timeout: float = 30.0  # until it is ready, or has ended if it is run once
    stop_timeout: float = 10.0  # from a signal to SIGKILL
    retried_error: str | None = None  # text in the log by which a failed start is tried again


class Child:
    """A named process, which can be stopped and started again; its output goes to `log`.

    The kernel sends the `parent_death_signal` when the thread that started the process ends, so it
    must be started from a thread that lasts.
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
        """Start the process, without waiting until it is ready."""
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
        """Wait until it is ready; LocalError if it ends or `start_timeout` is over before."""
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
        """Whether it ended by itself. It is not reaped, where the system allows that, so that its
        group id cannot be another's when the group is killed.
        """
        process = self._process
        if process is None or process.returncode is not None:
            return process is not None
        if sys.platform == "darwin":
            return process.poll() is not None
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait_ended(self) -> int:
        """Wait until it ends by itself; its exit status. LocalError after `start_timeout`."""
        if not wait_until(self.has_ended, self.command.start_timeout):
            msg = f"{self.command.name} was not done after {self.command.start_timeout:g} s"
            raise LocalError(self.with_log_tail(msg))
        return self._reap()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> None:
        """Send the signal and wait for the end; after `stop_timeout` kill it and its group."""
        if self._process is None:
            return
        with signals_deferred():
            self.send(number)
            self.send(signal.SIGCONT)  # a stopped process could not act on it
            wait_until(self.has_ended, self.command.stop_timeout)
            self._reap()
            self._process = None

    def stop(self) -> None:
        """Stop it in good order, if it is running."""
        self.end(self.command.stop_signal)

    def kill(self) -> None:
        """Kill it as a fault would: by SIGKILL, Postgres by SIGQUIT."""
        self.end(self.command.kill_signal)

    def restart(self) -> None:
        """Kill it if it still runs, start it again, and wait until it is ready."""
        self.kill()
        self.start()

    def exit_description(self) -> str:
        """A sentence on how it ended; only for a process that has."""
        status = self._reap()
        if status < 0:
            return f"{self.command.name} was ended by {signal.Signals(-status).name}"
        return f"{self.command.name} ended with status {status}"

    def with_log_tail(self, message: str) -> str:
        """The message, and below it the last lines of the log since the start."""
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
        """Kill what is left of the process and its group; the exit status."""
        process = self._running_process()
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


class Supervisor:
    """Named children, stopped in reverse order; `logs` is the folder of their output."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.children: dict[str, Child] = {}
        self._stack = ExitStack()

    def enter(self, context: AbstractContextManager[Entered]) -> Entered:
        """Enter a context that is left together with the children, in its place in the order."""
        return self._stack.enter_context(context)

    def close(self) -> None:
        """Stop all children; signals are deferred until that is done."""
        with signals_deferred():
            self._stack.close()

    def add(self, command: Command) -> Child:
        """Add a child, not started yet; the log of the last run is kept as `.before.log`."""
        log = self.logs / f"{command.name}.log"
        if log.exists():
            log.replace(log.with_suffix(".before.log"))
        log.touch(mode=0o600)
        child = self.children[command.name] = Child(command, log)
        self._stack.callback(child.stop)
        return child

    def start(self, *commands: Command) -> list[Child]:
        """Start all at once; returns when all are ready."""
        children = [self.add(command) for command in commands]
        for child in children:
            child.spawn()
        for child in children:
            child.wait_ready()
        return children

    def run(self, command: Command) -> None:
        """Run a program to its end; LocalError if its status is not 0."""
        child = self.add(command)
        child.spawn()
        if child.wait_ended() != 0:
            raise LocalError(child.with_log_tail(child.exit_description()))
        del self.children[command.name]

    def ended(self) -> list[Child]:
        """The children that ended by themselves."""
        return [child for child in self.children.values() if child.has_ended()]


@contextmanager
def supervised(logs: Path) -> Iterator[Supervisor]:
    """A supervisor whose children end with the block: at its end, by an exception, by Ctrl-C,
    SIGTERM or SIGHUP, and on Linux also by kill -9.
    """
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    supervisor = Supervisor(logs)
    with exit_on_signals():
        try:
            yield supervisor
        finally:
            supervisor.close()
