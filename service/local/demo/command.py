"""The demo as a command: a private stack, the story on it, what came of it."""

import asyncio
import time
from contextlib import ExitStack

from rich.console import Console

from service.local.demo import report
from service.local.demo.checks import Check, checks
from service.local.demo.introduction import print_introduction
from service.local.demo.runner import run_demo
from service.local.demo.screen import live_screen
from service.local.errors import LocalError
from service.local.folders import temporary_folder
from service.local.signals import exit_on_signals, signals_deferred
from service.local.stack import Stack, stack

PARALLEL = 4  # fewer places with the provider than subjects: some wait their turn
SETTINGS = {
    "CALLSHEET_PROVIDER_PARALLEL": str(PARALLEL),
    "CALLSHEET_POLL_AFTER": "1",
    "CALLSHEET_DELIVERY_SCHEDULE": "0.3,1,2,5",
}
WIDTH_WITHOUT_TERMINAL = 120  # characters, where there is no terminal to ask
PROGRAMS = ("web", "worker", "simulator")
# What a log says of a fault of ours: in lines of our own, and in those of libraries.
ERROR_MARKS = ("Traceback", '"level":"error"', '"level": "error"')
MAX_LOG_LINE = 500  # characters of a log line that are shown
INTERRUPTED = 130  # the exit status that shells give Ctrl-C


def run() -> int:
    """0 if everything held, 1 if not, 130 if interrupted."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)
    try:
        with exit_on_signals():
            return 0 if _run_and_report(console) else 1
    except LocalError as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return INTERRUPTED


def _run_and_report(console: Console) -> bool:
    print_introduction(console, PARALLEL)
    started = time.monotonic()
    console.print("Starting Postgres, Valkey, the provider simulator, worker and web …")
    with ExitStack() as everything:
        with signals_deferred():
            folder = everything.enter_context(temporary_folder("callsheet-demo-"))
        running = everything.enter_context(
            stack(folder, durable=False, keep=False, settings=SETTINGS)
        )
        console.print(f"Up in {time.monotonic() - started:.1f} s at {running.base_url}\n")
        broken = _failed_checks(console, running)
        if broken:
            _print_logs(console, running)
    for sentence in broken:
        console.print(f"\nDid not hold: {sentence}", markup=False)
    console.print(f"\nTook {time.monotonic() - started:.1f} s; nothing of it is left.")
    return not broken


def _failed_checks(console: Console, running: Stack) -> list[str]:
    """What did not hold."""
    key = running.make_key("demo")
    with live_screen(console) as show:
        outcome = asyncio.run(run_demo(running.base_url, running.simulator_url, key, show))
    report.print_timelines(console, outcome.progress)
    report.print_deliveries(console, outcome.progress, outcome.backend)
    held = checks(outcome.progress, outcome.backend, outcome.ledger, PARALLEL)
    return report.print_checks(console, [*held, no_errors_logged(running), _audit(running)])


def _print_logs(console: Console, running: Stack) -> None:
    """The ends of the logs, which are deleted with everything else."""
    for name in PROGRAMS:
        console.print()
        for line in running.child(name).with_log_tail(name).splitlines():
            console.print(line[:MAX_LOG_LINE], markup=False, soft_wrap=True)


def no_errors_logged(running: Stack) -> Check:
    """Whether no process has logged a fault so far."""
    logs = [running.child(name).log.read_text() for name in PROGRAMS]
    return "no process logged an error", not any(
        sign in log for log in logs for sign in ERROR_MARKS
    )


def _audit(running: Stack) -> Check:
    try:
        said = running.call("audit").strip()
    except LocalError as error:
        return f"the audit: {error}", False
    return f"the audit: {said}", True
