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
from tests.bench import delivery_baselines
from tests.bench.cpu import usage
from tests.bench.database import connected, execute, value
from tests.bench.load import Faulty
from tests.bench.receiver import Receivers, receivers
from tests.bench.subject_rows import (
    COLUMNS,
    MOMENT,
    event_sql,
    insert,
    subject_states,
    subjects_sql,
)

ROUNDS = 3
SOME, MANY = 3_000, 100_000  # deliveries that are due when the worker begins; the figures
BARE, PLAIN = 20_000, 300  # posts of one measurement, as these are quicker and slower
SPREAD = 50  # receivers, where there are several
PATIENCE = 120.0  # seconds until all must have come
INTERVAL = 0.02  # seconds between two queries
ACCOUNT = "deliveries"


def deliveries() -> None:
    """To one receiver and to several; then the same with a deep backlog."""
    with _serving() as running:
        for count in (1, SPREAD):
            with receivers(count) as receiving:
                _against(running, receiving)
        with receivers(1) as receiving:
            _backlog(running, receiving)


@contextmanager
def _serving() -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", keep=False) as running,
    ):
        running.child("worker").stop()
        yield running


def _against(running: Stack, receiving: Receivers) -> None:
    body = _body()
    ways: dict[str, Callable[[], float]] = {
        "callsheet": lambda: _ours(running, receiving, SOME),
        "bare loop": lambda: _bare(receiving, body),
        "plain way": lambda: _plain(running, receiving, PLAIN),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            rates[name].append(ways[name]())
    print(
        f"\ndeliveries of one worker to {len(receiving.urls)} local receiver(s): {len(body)} B,"
        f" signed; {SOME:,} due; medians of {ROUNDS} rounds in turn\n"
        f"{'':16}{'per s':>8}{'x bare':>9}{'x plain':>9}"
    )
    for name, found in rates.items():
        ratios = [_ratio(found, rates[base]) for base in ("bare loop", "plain way")]
        print(f"{name:16}{median(found):8,.0f}{ratios[0]:9.2f}{ratios[1]:9.2f}")


def _backlog(running: Stack, receiving: Receivers) -> None:
    rates: dict[int, list[float]] = {SOME: [], MANY: []}
    for _ in range(ROUNDS):
        for count, found in rates.items():
            found.append(_ours(running, receiving, count, SOME))
    longer = _ratio(rates[SOME], rates[MANY])
    print(
        f"\nthe first {SOME:,} of {MANY:,} due: {median(rates[MANY]):,.0f} per s, "
        f"{longer:.2f} times as long as of {SOME:,} (the aim: 1.25 at most)"
    )


def _ratio(some: Sequence[float], base: Sequence[float]) -> float:
    return median(rate / other for rate, other in zip(some, base, strict=True))


def _ours(running: Stack, receiving: Receivers, count: int, measured: int | None = None) -> float:
    """Deliveries per second of a worker that begins with so many due."""
    url = running.env["CALLSHEET_DATABASE_URL"]
    asyncio.run(_fill(url, _subscribers(running, receiving.urls), count))
    receiving.ask("forget")
    worker = running.child("worker")
    worker.start()
    try:
        rate = _receiving_rate(running, receiving, measured or count)
        if measured is None:
            _settled(url, count)
    finally:
        worker.stop()
        execute(url, "TRUNCATE subjects, subscribers CASCADE")
    return rate


def _bare(receiving: Receivers, body: bytes) -> float:
    receiving.ask("forget")
    command = ["bare", json.dumps(receiving.urls), str(BARE), body.decode()]
    with _baseline(command, {}):
        return _receiving_rate(None, receiving, BARE)


def _plain(running: Stack, receiving: Receivers, count: int) -> float:
    url = running.env["CALLSHEET_DATABASE_URL"]
    ids = asyncio.run(_fill(url, _subscribers(running, receiving.urls), count))
    asyncio.run(delivery_baselines.enqueue(running.env["CALLSHEET_REDIS_URL"], ids))
    receiving.ask("forget")
    try:
        with _baseline(["plain"], running.env):
            rate = _receiving_rate(None, receiving, count)
            _settled(url, count)
    finally:
        execute(url, "TRUNCATE subjects, subscribers CASCADE")
    return rate


@contextmanager
def _baseline(arguments: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    command = [sys.executable, "-P", "-m", "tests.bench.delivery_baselines", *arguments]
    with subprocess.Popen(command, env={**os.environ, **env}) as process:  # noqa: S603
        yield
        if process.wait(PATIENCE):
            raise Faulty(f"{arguments[0]} ended with {process.returncode}")


def _receiving_rate(running: Stack | None, receiving: Receivers, count: int) -> float:
    """Per second, from the first to the last of so many."""
    _until(lambda: receiving.ask()[0] > 0)
    began = _cpu(running)
    _until(lambda: receiving.ask()[0] >= count)
    ended = _cpu(running)
    got, first, last = receiving.ask()
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
        sleep(INTERVAL)


def _subscribers(running: Stack, urls: Sequence[str]) -> list[tuple[str, str]]:
    """One for each receiver: its account's id, and its own."""
    headers = {"authorization": f"Bearer {running.make_key(ACCOUNT)}"}
    made = []
    for url in urls:
        answer = httpx.post(
            f"{running.base_url}/v1/subscribers", json={"url": url}, headers=headers
        )
        made.append(answer.raise_for_status().json()["id"])
    database_url = running.env["CALLSHEET_DATABASE_URL"]
    account = value(database_url, "SELECT account_id FROM subscribers LIMIT 1")
    return [(str(account), subscriber_id) for subscriber_id in made]


async def _fill(url: str, subscribers: Sequence[tuple[str, str]], count: int) -> list[str]:
    """So many subjects that have ended, each with a delivery that is due of its last event."""
    at = utc_now()
    at_text = format_rfc3339(at)
    stems = sorted(new_id("", at, secrets.token_bytes(RANDOM_BYTES))[1:] for _ in range(count))
    records = [
        (n, *subscribers[n % len(subscribers)], stem, f"task{stem}", at, at_text)
        for n, stem in enumerate(stems)
    ]
    last = subject_states()[-1]
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
        await connection.execute(f"CREATE TEMP TABLE bench_subjects ({COLUMNS})")
        await connection.copy_records_to_table("bench_subjects", records=records)
        for statement in (subjects_sql(last), event_sql(last), insert("deliveries", delivery)):
            await connection.execute(statement)
        await connection.execute("ANALYZE subjects, events, deliveries, attempts")
        await connection.execute("CHECKPOINT")
    return [f"dlv_{stem}_1" for stem in stems]


def _body() -> bytes:
    """About as large as that of a real event."""
    return subject_event(subject_states()[-1]).body
