"""Callback ingest, as rows: against what is less and what is plain, and with a long history."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from service.local.stack import Stack
from tests.bench import aims, cpu, history
from tests.bench.database import value
from tests.bench.measure import ACCOUNT, CONNECTIONS, Measured, Target, measure
from tests.bench.report import ratio, show
from tests.bench.servers import baseline, listener, second, serving, target
from tests.bench.signed import BODY_BYTES

ROUNDS = 3
SECONDS = 4.0  # about as long as each measurement takes
WARM_UP = 1_000  # callbacks before the first round: connections, statements, pages
COUNTS = range(1_000, 60_001)  # callbacks in one measurement
OTHER_ACCOUNTS = 4  # which share the history


def ingest() -> None:
    """`callsheet web`, a floor that only verifies, and the plain way that does all of the work."""
    with (
        serving() as running,
        baseline(running, "floor") as floor,
        baseline(running, "plain") as plain,
    ):
        targets = [
            replace(floor, database_url=None),
            target(running, "web"),
            plain,
        ]
        results = asyncio.run(_in_turn(targets))
        _head("callback ingest", running)
    show(results, ["floor", "plain"])
    print(f"of the floor: {aims.judged(ratio(results['web'], results['floor']), aims.INGEST)}")
    spent = cpu.middle([measured.cpu for measured in results["web"]])
    for process, aim in (("web", aims.INGEST_WEB), ("Postgres", aims.INGEST_POSTGRES)):
        if process in spent:
            print(f"CPU µs of {process} a callback: {aims.judged(spent[process], aim)}")


def with_history() -> None:
    """The same on a database that is empty, and on one with a million finished subjects."""
    with serving() as running, second(running) as full:
        accounts = [listener(full, ACCOUNT)]
        accounts += [listener(full, f"other-{n}") for n in range(OTHER_ACCOUNTS)]
        filled = asyncio.run(history.fill(full.env["CALLSHEET_DATABASE_URL"], accounts))
        targets = [target(running, "web"), target(full, "web-full")]
        results = asyncio.run(_in_turn(targets))
        _head(f"callback ingest with {history.SUBJECTS:,} finished subjects", running)
    results = dict(zip(["empty", "full"], results.values(), strict=True))
    show(results, ["empty"])
    longer = ratio(results["empty"], results["full"])
    print(f"on the full one, times as long: {aims.judged(longer, aims.FINISHED_SUBJECTS)}")
    print(
        f"filled in {filled.seconds:.0f} s: {filled.database / 1e9:.1f} GB of tables and indexes, "
        f"{filled.wal / 1e9:.1f} GB of WAL"
    )


async def _in_turn(targets: Sequence[Target]) -> dict[str, list[Measured]]:
    """Every second round goes backwards, so that a steady drift is nobody's advantage."""
    warm = {server.name: await measure(server, WARM_UP) for server in targets}
    counts = {name: _count(measured) for name, measured in warm.items()}
    results: dict[str, list[Measured]] = {server.name: [] for server in targets}
    for number in range(ROUNDS):
        for server in targets[:: -1 if number % 2 else 1]:
            results[server.name].append(await measure(server, counts[server.name]))
    return results


def _count(measured: Measured) -> int:
    """Callbacks that take SECONDS, by what was measured."""
    return min(max(int(measured.driven.rate * SECONDS), COUNTS[0]), COUNTS[-1])


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
