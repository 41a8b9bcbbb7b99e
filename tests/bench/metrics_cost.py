"""What metrics cost of a callback: `callsheet web` as it is, against one that measures nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from statistics import median

from service.local.ports import HOST, free_port
from service.local.processes import Command
from service.local.stack import Stack
from service.local.waiting import http_status
from tests.bench import aims
from tests.bench.ingest import callbacks
from tests.bench.intervals import of_median
from tests.bench.measure import Target
from tests.bench.report import show
from tests.bench.rounds import Rounds, in_turn
from tests.bench.servers import serving, target

TURNS = 6  # of each: each takes longer than the one before, as the tables fill
SECONDS = 1.0  # about as long as each is measured
PROCESS = "web"  # whose CPU is compared: Postgres has no part in it


def metrics_cost() -> None:
    """Callbacks with and without what is counted and observed of each."""
    with serving() as running, unmeasured(running) as without:
        results = in_turn(
            {
                "without": callbacks(without, SECONDS),
                "with": callbacks(target(running, "web"), SECONDS),
            },
            turns=TURNS,
        )
    print(f"\nmetrics of a callback; medians of {TURNS} rounds in turn")
    show(results, ["without"])
    dearer = _cpu_ratios(results["with"], results["without"])
    if dearer:
        print(f"CPU of web, times without: {aims.judged(median(dearer), aims.METRICS)}")
        interval = " to ".join(f"{bound:.2f}" for bound in of_median(dearer) or ())
        print(f"95 % interval of that: {interval}")


@contextmanager
def unmeasured(running: Stack) -> Iterator[Target]:
    """One more web process on the same database, which measures nothing."""
    port = free_port()
    name = "web-unmeasured"
    command = Command(
        name=name,
        argv=[sys.executable, "-P", "-m", "tests.bench.unmeasured_web"],
        env={**running.env, "CALLSHEET_PORT": str(port)},
        folder=running.folder,
        is_ready=lambda _pid: http_status(f"http://{HOST}:{port}/readyz") == HTTPStatus.OK,
    )
    child = running.supervisor.add(command)
    child.start()
    try:
        yield target(replace(running, base_url=f"http://{HOST}:{port}"), name)
    finally:
        child.stop()


def _cpu_ratios(some: Rounds, base: Rounds) -> list[float]:
    """The CPU of a callback as a multiple of the base's, in each round; empty where it is not
    known."""
    if PROCESS not in base[0].cpu:
        return []
    return [
        measured.cpu[PROCESS] / other.cpu[PROCESS]
        for measured, other in zip(some, base, strict=True)
    ]
