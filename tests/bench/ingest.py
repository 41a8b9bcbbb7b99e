"""Callback ingest, as rows: against what is less and what is plain, and with a long history."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from service.local.stack import Stack
from tests.bench import aims, cpu, history
from tests.bench.database import value
from tests.bench.measure import ACCOUNT, CONNECTIONS, Target, measure
from tests.bench.report import show
from tests.bench.rounds import ROUNDS, Measured, in_turn, ratio, spent
from tests.bench.servers import baseline, listener, second, serving, target
from tests.bench.signed import BODY_BYTES

SECONDS = 4.0  # about as long as each measurement takes
WARM_UP = 1_000  # callbacks before the first round: connections, statements, pages
COUNTS = range(1_000, 60_001)  # callbacks in one measurement
OTHER_ACCOUNTS = [f"other-{n}" for n in range(4)]  # which share the history


def ingest() -> None:
    """`callsheet web`, a floor that only verifies, and the plain way that does all of the work."""
    with (
        serving() as running,
        baseline(running, "floor") as floor,
        baseline(running, "plain") as plain,
    ):
        results = in_turn(
            {
                "floor": callbacks(replace(floor, database_url=None)),
                "web": callbacks(target(running, "web")),
                "plain": callbacks(plain),
            }
        )
        _head("callback ingest", running)
    show(results, ["floor", "plain"])
    print(f"of the floor: {aims.judged(ratio(results['web'], results['floor']), aims.INGEST)}")
    here = f"{cpu.spin():.0f} ms here, {aims.SPIN} ms where µs were aimed at"
    print(f"a fixed piece of Python takes {here}")
    each = spent(results["web"])
    for process, aim in (("web", aims.INGEST_WEB), ("Postgres", aims.INGEST_POSTGRES)):
        if process in each:
            print(f"CPU µs of {process} a callback: {aims.judged(each[process], aim)}")


def with_history() -> None:
    """The same on a database that is empty, and on one with a million finished subjects."""
    with serving() as running, second(running) as full:
        accounts = [listener(full, name) for name in (ACCOUNT, *OTHER_ACCOUNTS)]
        filled = asyncio.run(history.fill(full.env["CALLSHEET_DATABASE_URL"], accounts))
        results = in_turn(
            {
                "empty": callbacks(target(running, "web")),
                "full": callbacks(target(full, "web-full")),
            }
        )
        _head(f"callback ingest with {history.SUBJECTS:,} finished subjects", running)
    show(results, ["empty"])
    longer = ratio(results["empty"], results["full"])
    print(f"on the full one, times as long: {aims.judged(longer, aims.FINISHED_SUBJECTS)}")
    print(filled)


def callbacks(target: Target, seconds: float = SECONDS) -> Callable[[], Measured]:
    """Sends it callbacks for about so many seconds, by what was measured first."""
    warm = asyncio.run(measure(target, WARM_UP))
    count = min(max(int(warm.rate * seconds), COUNTS[0]), COUNTS[-1])
    return lambda: asyncio.run(measure(target, count))


def _head(title: str, running: Stack) -> None:
    url = running.env["CALLSHEET_DATABASE_URL"]
    names = ("fsync", "synchronous_commit", "full_page_writes")
    durability = ", ".join(f"{name} {value(url, f'SHOW {name}')}" for name in names)
    print(
        f"\n{title}: {BODY_BYTES} B, signed, terminal,\n"
        f"of known subjects with one subscriber each; {CONNECTIONS} connections, one process each;"
        f"\n{durability};\nmedians of {ROUNDS} rounds in turn; "
        "the worker is stopped, or its deliveries would be measured too"
    )
