"""`callsheet demo`: starts a temporary stack, runs the demo on it and prints the report."""

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

PARALLEL = 4  # tasks at the provider at once: fewer than subjects, so that some wait
SETTINGS = {
    "CALLSHEET_PROVIDER_PARALLEL": str(PARALLEL),
    "CALLSHEET_POLL_AFTER": "1",
    "CALLSHEET_DELIVERY_SCHEDULE": "0.3,1,2,5",
}
WIDTH_WITHOUT_TERMINAL = 120  # characters, where there is no terminal to ask
PROGRAMS = ("web", "worker", "simulator")
# How errors look in our own log lines, and in those of libraries.
ERROR_MARKS = ("Traceback", '"level":"error"', '"level": "error"')
MAX_LOG_LINE = 500  # characters of a log line that are shown
INTERRUPTED = 130  # the exit status that shells give Ctrl-C


def run() -> int:
    """Run the demo; the exit status is 0 if every check holds, 1 if not, 130 if interrupted."""
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
    with ExitStack() as contexts:
        with signals_deferred():
            folder = contexts.enter_context(temporary_folder("callsheet-demo-"))
        running = contexts.enter_context(
            stack(folder, durable=False, keep=False, settings=SETTINGS)
        )
        console.print(f"Up in {time.monotonic() - started:.1f} s at {running.base_url}\n")
        failed = _failed_checks(console, running)
        if failed:
            _print_logs(console, running)
    for sentence in failed:
        console.print(f"\nDid not hold: {sentence}", markup=False)
    console.print(f"\nTook {time.monotonic() - started:.1f} s; nothing of it is left.")
    return not failed


def _failed_checks(console: Console, running: Stack) -> list[str]:
    """Run the demo on the stack and print the report; the sentences that do not hold."""
    with live_screen(console) as show:
        result = asyncio.run(run_demo(running, show))
    report.print_timelines(console, result.progress)
    report.print_deliveries(console, result.progress, result.backend)
    checked = checks(result.progress, result.backend, result.ledger, PARALLEL)
    return report.print_checks(console, [*checked, no_errors_logged(running), _audit(running)])


def _print_logs(console: Console, running: Stack) -> None:
    """Print the last lines of each log, as the logs are deleted with the folder."""
    for name in PROGRAMS:
        console.print()
        for line in running.child(name).with_log_tail(name).splitlines():
            console.print(line[:MAX_LOG_LINE], markup=False, soft_wrap=True)


def no_errors_logged(running: Stack) -> Check:
    """The check that no process has logged an error so far."""
    logs = [running.child(name).log.read_text() for name in PROGRAMS]
    return "no process logged an error", not any(
        mark in log for log in logs for mark in ERROR_MARKS
    )


def _audit(running: Stack) -> Check:
    try:
        output = running.call("audit").strip()
    except LocalError as error:
        return f"the audit: {error}", False
    return f"the audit: {output}", True
