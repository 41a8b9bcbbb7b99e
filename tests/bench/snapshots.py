"""What it takes to take a snapshot of what waits: with a long history, against the same without."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from time import perf_counter

from service.local.stack import Stack
from service.operations.domain.snapshot import MAX_COUNTED, TAKEN_EVERY
from service.operations.steps import snapshot
from service.resources import Resources
from service.settings import read_settings
from service.wiring import open_resources, utc_now
from tests.bench import aims, cpu, history
from tests.bench.database import execute
from tests.bench.ingest import OTHER_ACCOUNTS
from tests.bench.load import Faulty
from tests.bench.measure import ACCOUNT
from tests.bench.rounds import CPU_HEAD, ROUNDS, Measured, cpu_column, in_turn, rate, ratio
from tests.bench.servers import listener, second, serving

TAKEN = 20  # snapshots of one measurement
WAITING = 2 * MAX_COUNTED  # queued subjects, and as many deliveries that are due and have failed
_SUBJECTS = f"""
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version, available_at,
        deadline, created_at, updated_at)
    SELECT 'sub_waiting' || n, (SELECT min(id) FROM accounts), 'f', '{{}}', '{{}}', 'queued', 1,
        now(), now() + interval '1 hour', now(), now()
    FROM generate_series(1, {WAITING}) n
"""  # noqa: S608 - our own number
_DELIVERIES = f"""
    INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state, attempts,
        due_at, created_at)
    SELECT 'dlv_waiting' || n, 'evt_' || n, (SELECT min(id) FROM subscribers), 'sub_waiting' || n,
        1, 'pending', 1, now(), now()
    FROM generate_series(1, {WAITING}) n
"""  # noqa: S608 - our own number


def snapshots() -> None:
    """On a database with no history, and on one with a million finished subjects; on both as much
    waits, more than is counted."""
    with serving() as running, second(running) as full:
        accounts = [listener(full, name) for name in (ACCOUNT, *OTHER_ACCOUNTS)]
        filled = asyncio.run(history.fill(full.env["CALLSHEET_DATABASE_URL"], accounts))
        rounds = in_turn({"empty": taking(running), "full": taking(full)})
    print(
        f"\na snapshot with {history.SUBJECTS:,} finished subjects; {WAITING:,} subjects wait, and "
        f"as many deliveries;\nmedians of {ROUNDS} rounds in turn\n{'':10}{'ms':>8}{CPU_HEAD}"
    )
    for name, found in rounds.items():
        print(f"{name:10}{1000 / rate(found):8.1f}   {cpu_column(found)}")
    longer = ratio(rounds["empty"], rounds["full"])
    print(f"on the full one, times as long: {aims.judged(longer, aims.SNAPSHOT)}")
    print(filled)


def taking(running: Stack) -> Callable[[], Measured]:
    """Takes snapshots one after the other, once there is enough that waits."""
    url = running.env["CALLSHEET_DATABASE_URL"]
    execute(url, _SUBJECTS)
    execute(url, _DELIVERIES)
    began = utc_now()
    times = (began + number * TAKEN_EVERY for number in count())

    async def measured() -> Measured:
        async with open_resources(read_settings(running.env)) as resources:
            moving = replace(resources, clock=lambda: next(times))
            await _take(moving, 1)
            processes = {"Postgres": running.child("postgres").pid}
            before, start = cpu.usage(processes), perf_counter()
            await _take(moving, TAKEN)
            seconds = perf_counter() - start
            return Measured(TAKEN / seconds, cpu.each(before, cpu.usage(processes), TAKEN))

    return lambda: asyncio.run(measured())


async def _take(resources: Resources, number: int) -> None:
    for _ in range(number):
        if not await snapshot.take_if_due(resources):
            raise Faulty("no snapshot was taken")
