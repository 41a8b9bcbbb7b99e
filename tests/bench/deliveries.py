"""Deliveries per second of one worker, against a loop that does no more than post, and against the
plain way; and with little and much that waits."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, sleep

import httpx

from service.kit.ids import RANDOM_BYTES, new_id
from service.kit.timestamps import format_rfc3339
from service.local.stack import Stack, stack
from service.subjects.domain.event import subject_event
from service.wiring import utc_now
from tests.bench import carriers
from tests.bench.cpu import usage
from tests.bench.database import connected, execute, value
from tests.bench.lives import COLUMNS, MOMENT, event_sql, insert, subject, subjects_sql
from tests.bench.load import Faulty
from tests.bench.sink import Sinks, sinks

ROUNDS = 3
SOME, MANY = 3_000, 100_000  # deliveries that are due when the worker begins; the figures
BARE, PLAIN = 20_000, 300  # posts of one measurement, as these are quicker and slower
SPREAD = 50  # sinks, where there are several
PATIENCE = 120.0  # seconds until all must have come
LOOK = 0.02  # seconds between looks
ACCOUNT = "deliveries"


def deliveries() -> None:
    """To one sink and to several; then the same with a deep backlog."""
    with _serving() as running:
        for count in (1, SPREAD):
            with sinks(count) as taking:
                _against(running, taking)
        with sinks(1) as taking:
            _backlog(running, taking)


@contextmanager
def _serving() -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", keep=False) as running,
    ):
        running.child("worker").stop()
        yield running


def _against(running: Stack, taking: Sinks) -> None:
    body = _body()
    ways: dict[str, Callable[[], float]] = {
        "callsheet": lambda: _ours(running, taking, SOME),
        "bare loop": lambda: _bare(taking, body),
        "plain way": lambda: _plain(running, taking, PLAIN),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            rates[name].append(ways[name]())
    print(
        f"\ndeliveries of one worker to {len(taking.urls)} local sink(s): {len(body)} B, signed;"
        f" {SOME:,} due; medians of {ROUNDS} rounds in turn\n{'':16}{'per s':>8}{'x bare':>9}"
        f"{'x plain':>9}"
    )
    for name, found in rates.items():
        ratios = [_ratio(found, rates[base]) for base in ("bare loop", "plain way")]
        print(f"{name:16}{median(found):8,.0f}{ratios[0]:9.2f}{ratios[1]:9.2f}")


def _backlog(running: Stack, taking: Sinks) -> None:
    rates: dict[int, list[float]] = {SOME: [], MANY: []}
    for _ in range(ROUNDS):
        for count, found in rates.items():
            found.append(_ours(running, taking, count, SOME))
    longer = _ratio(rates[SOME], rates[MANY])
    print(
        f"\nthe first {SOME:,} of {MANY:,} due: {median(rates[MANY]):,.0f} per s, "
        f"{longer:.2f} times as long as of {SOME:,} (the aim: 1.25 at most)"
    )


def _ratio(some: Sequence[float], base: Sequence[float]) -> float:
    return median(rate / other for rate, other in zip(some, base, strict=True))


def _ours(running: Stack, taking: Sinks, count: int, measured: int | None = None) -> float:
    """Deliveries per second of a worker that begins with so many due."""
    url = running.env["CALLSHEET_DATABASE_URL"]
    asyncio.run(_fill(url, _subscribers(running, taking.urls), count))
    taking.ask("forget")
    worker = running.child("worker")
    worker.start()
    try:
        rate = _taken(running, taking, measured or count)
        if measured is None:
            _settled(url, count)
    finally:
        worker.stop()
        execute(url, "TRUNCATE subjects, subscribers CASCADE")
    return rate


def _bare(taking: Sinks, body: bytes) -> float:
    taking.ask("forget")
    command = ["bare", json.dumps(taking.urls), str(BARE), body.decode()]
    with _carrier(command, {}):
        return _taken(None, taking, BARE)


def _plain(running: Stack, taking: Sinks, count: int) -> float:
    url = running.env["CALLSHEET_DATABASE_URL"]
    ids = asyncio.run(_fill(url, _subscribers(running, taking.urls), count))
    asyncio.run(carriers.enqueue(running.env["CALLSHEET_REDIS_URL"], ids))
    taking.ask("forget")
    try:
        with _carrier(["plain"], running.env):
            rate = _taken(None, taking, count)
            _settled(url, count)
    finally:
        execute(url, "TRUNCATE subjects, subscribers CASCADE")
    return rate


@contextmanager
def _carrier(arguments: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    command = [sys.executable, "-P", "-m", "tests.bench.carriers", *arguments]
    with subprocess.Popen(command, env={**os.environ, **env}) as process:  # noqa: S603
        yield
        if process.wait(PATIENCE):
            raise Faulty(f"{arguments[0]} ended with {process.returncode}")


def _taken(running: Stack | None, taking: Sinks, count: int) -> float:
    """Per second, from the first to the last of so many."""
    _until(lambda: taking.ask()[0] > 0)
    began = _cpu(running)
    _until(lambda: taking.ask()[0] >= count)
    ended = _cpu(running)
    got, first, last = taking.ask()
    if began and ended:
        worker, postgres = ((b - a) * 1e6 / got for a, b in zip(began, ended, strict=True))
        print(f"  CPU us each: worker {worker:.0f}, Postgres {postgres:.0f}")
    return (got - 1) / (last - first)


def _cpu(running: Stack | None) -> tuple[float, float] | None:
    if running is None:
        return None
    found = usage(running.child("worker").pid, running.child("postgres").pid)
    return (found.web, found.postgres) if found else None


def _settled(url: str, count: int) -> None:
    """Each was delivered, by one attempt that was kept."""
    done = """SELECT count(*) FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
        WHERE d.state = 'delivered' AND a.delivered"""
    _until(lambda: value(url, done) == count)


def _until(done: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not done():
        if monotonic() > deadline:
            raise Faulty("it took too long")
        sleep(LOOK)


def _subscribers(running: Stack, urls: Sequence[str]) -> list[tuple[str, str]]:
    """One for each sink: its account's id, and its own."""
    headers = {"authorization": f"Bearer {running.make_key(ACCOUNT)}"}
    url, made = running.env["CALLSHEET_DATABASE_URL"], []
    for url in urls:
        answer = httpx.post(
            f"{running.base_url}/v1/subscribers", json={"url": url}, headers=headers
        )
        made.append(answer.raise_for_status().json()["id"])
    account = value(url, "SELECT account_id FROM subscribers LIMIT 1")
    return [(str(account), url) for url in made]


async def _fill(url: str, subscribers: Sequence[tuple[str, str]], count: int) -> list[str]:
    """So many subjects that have ended, each with a delivery that is due of its last event."""
    at = utc_now()
    told = format_rfc3339(at)
    stems = sorted(new_id("", at, secrets.token_bytes(RANDOM_BYTES))[1:] for _ in range(count))
    records = [
        (n, *subscribers[n % len(subscribers)], stem, f"task{stem}", at, told)
        for n, stem in enumerate(stems)
    ]
    last = subject()[-1]
    delivery = {
        "id": "dlv_{stem}_1",
        "event_id": f"evt_{{stem}}_{last.version}",
        "subscriber_id": "{subscriber}",
        "ordering_key": last.id,
        "sequence": last.version,
        "state": "pending",
        "due_at": MOMENT,
        "created_at": MOMENT,
    }
    async with connected(url) as connection:
        await connection.execute(f"CREATE TEMP TABLE bench_lives ({COLUMNS})")
        await connection.copy_records_to_table("bench_lives", records=records)
        for statement in (subjects_sql(last), event_sql(last), insert("deliveries", delivery)):
            await connection.execute(statement)
        await connection.execute("ANALYZE subjects, events, deliveries, attempts")
        await connection.execute("CHECKPOINT")
    return [f"dlv_{stem}_1" for stem in stems]


def _body() -> bytes:
    """About as large as that of a real event."""
    return subject_event(subject()[-1]).body
