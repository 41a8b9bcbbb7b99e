"""What pruning costs those who work meanwhile: callback ingest and claims of queued subjects while
a million subjects are pruned, against the same without; and whether tables go on growing."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from time import perf_counter, sleep
from unittest.mock import patch

from service.installation.store import installation
from service.local.stack import PROGRAM, Stack
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.steps import prune, rounds
from service.settings import read_settings
from service.submission.steps import submit
from service.wiring import open_resources
from tests.bench import aims, cpu, history
from tests.bench.database import execute, value
from tests.bench.ingest import OTHER_ACCOUNTS, callbacks
from tests.bench.load import Faulty
from tests.bench.measure import ACCOUNT
from tests.bench.report import show
from tests.bench.rounds import CPU_HEAD, Measured, cpu_column, in_turn, rate, ratio
from tests.bench.servers import listener, second, serving, target

SETTINGS = {  # what was made is 30 days old at most; answers and callbacks are left alone
    "CALLSHEET_RETENTION_SUCCEEDED_DAYS": "4",
    "CALLSHEET_RETENTION_ANSWERS_DAYS": "0",
    "CALLSHEET_PROVIDER_PARALLEL": "100000",
}
GROWN = 50_000  # subjects that are made, pruned and made again
AGES = (timedelta(days=100), timedelta(days=10))  # of those made first, and of the others
TURNS = 5
CLAIMED = 10  # subjects of one claim
CLAIMS = 300  # of one measurement
START_TIME = 30.0  # seconds until a pruner has begun, at most
_QUEUED = f"""
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version, available_at,
        deadline, created_at, updated_at)
    SELECT 'sub_waiting' || n, (SELECT min(id) FROM accounts), 'f', '{{}}', '{{}}', 'queued', 1,
        now(), now() + interval '1 day', now(), now()
    FROM generate_series(1, {CLAIMS * CLAIMED}) n
"""  # noqa: S608 - our own number
_CLEARED = "DELETE FROM subjects WHERE id >= 'sub_waiting' AND id < 'sub_waitinh'"
_WALKED = "SELECT after_at FROM pruning_walks WHERE kind = 'succeeded'"
_LEFT = "SELECT count(*) FROM subjects WHERE finished_at IS NOT NULL"


def retention() -> None:
    """With a million subjects to prune, in turns with and without; then sizes."""
    with serving() as running, second(running) as full:
        accounts = [listener(full, name) for name in (ACCOUNT, *OTHER_ACCOUNTS)]
        filled = asyncio.run(history.fill(full.env["CALLSHEET_DATABASE_URL"], accounts))
        ingest = callbacks(target(full, "web-full"))
        claims = claiming(full)
        before = _number(full, _LEFT)
        results = {
            "callback ingest": in_turn(
                {"without": ingest, "pruning": while_pruning(full, ingest)}, TURNS
            ),
            "claims": in_turn({"without": claims, "pruning": while_pruning(full, claims)}, TURNS),
        }
        pruned = before - _number(full, _LEFT)
        grown = growth(running, listener(running, "grown"))
    print(
        f"\nwhile subjects are pruned, of {history.SUBJECTS:,} finished ones;"
        f" medians of {TURNS} turns\n{pruned:,} went meanwhile"
    )
    for name, found in results.items():
        print(name)
        if any(measured.latencies for measured in found["without"]):
            show(found, ["without"])
        else:
            print(f"{'':16}{'per s':>8}{CPU_HEAD}")
            for way, some in found.items():
                print(f"{way:16}{rate(some):8,.0f}   {cpu_column(some)}")
        kept = ratio(found["pruning"], found["without"])
        print(f"of the rate without: {aims.judged(kept, aims.WHILE_PRUNING)}")
    print(
        f"{GROWN:,} subjects made, pruned, and as many made again: of the size before: "
        f"{aims.judged(grown, aims.GROWN)}"
    )
    print(filled)


def while_pruning(running: Stack, measure: Callable[[], Measured]) -> Callable[[], Measured]:
    """Measures while a process prunes, which is killed then: the next goes on."""

    def measured() -> Measured:
        with pruner(running) as process:
            found = measure()
            if process.poll() is not None:
                raise Faulty("there was not enough to prune")
            return found

    return measured


@contextmanager
def pruner(running: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """A process that prunes, once it has begun with subjects."""
    url = running.env["CALLSHEET_DATABASE_URL"]
    execute(url, "DELETE FROM pruning_walks")
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*PROGRAM, "prune"],
        cwd=running.folder,
        env={**running.env, **SETTINGS},
        stdout=subprocess.DEVNULL,
    )
    try:
        give_up_at = perf_counter() + START_TIME
        while value(url, _WALKED) is None:
            if perf_counter() > give_up_at or process.poll() is not None:
                raise Faulty("pruning did not begin")
            sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def claiming(running: Stack) -> Callable[[], Measured]:
    """Claims queued subjects, so many at a time, until none is left."""
    url = running.env["CALLSHEET_DATABASE_URL"]

    async def measured() -> Measured:
        async with opened(running) as resources:
            processes = {"Postgres": running.child("postgres").pid}
            before, start, claimed = cpu.usage(processes), perf_counter(), 0
            for _ in range(CLAIMS):
                claimed += len(await submit.claim(resources, CLAIMED))
            seconds = perf_counter() - start
        if claimed != CLAIMS * CLAIMED:
            raise Faulty(f"{claimed} were claimed")
        return Measured(claimed / seconds, cpu.each(before, cpu.usage(processes), claimed))

    def prepared() -> Measured:
        execute(url, _CLEARED)
        execute(url, _QUEUED)
        return asyncio.run(measured())

    return prepared


@asynccontextmanager
async def opened(running: Stack) -> AsyncIterator[Resources]:
    """Resources of the stack's, at home on its database."""
    async with open_resources(read_settings({**running.env, **SETTINGS})) as resources:
        async with resources.database.autocommit() as tx:
            resources.home.see(await installation.read(tx))
        yield resources


def growth(running: Stack, account: tuple[str, str]) -> float:
    """The size of the tables once they were filled, pruned, vacuumed and filled again, as a
    multiple of what it was when they were filled first."""
    url, sizes = running.env["CALLSHEET_DATABASE_URL"], list[int]()
    for number in range(2):
        asyncio.run(history.add(url, [account], GROWN, AGES[number]))
        sizes.append(_number(running, "SELECT pg_database_size(current_database())"))
        if number == 0:
            asyncio.run(_prune_all(running))
            for _ in range(2):  # pages of an index that one empties are used again after the next
                execute(url, "VACUUM")
    return sizes[1] / sizes[0]


async def _prune_all(running: Stack) -> None:
    async with opened(running) as resources:
        with patch.object(rounds, "REST", 0.0):
            done = await prune.prune(resources)
    if done.counts[Kind.SUCCEEDED] != GROWN:
        raise Faulty(f"{done.counts} were pruned: {done.stopped}")


def _number(running: Stack, statement: str) -> int:
    found = value(running.env["CALLSHEET_DATABASE_URL"], statement)
    if not isinstance(found, int):
        raise Faulty(statement)
    return found
