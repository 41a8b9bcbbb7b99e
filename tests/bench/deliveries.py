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
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx

from service.kit.ids import RANDOM_BYTES, new_id
from service.kit.timestamps import format_rfc3339
from service.local.stack import Stack, stack
from service.local.valkey import valkey
from service.subjects.domain.event import subject_event
from service.wiring import utc_now
from tests.bench import aims, cpu, delivery_baselines
from tests.bench.database import connected, execute, value
from tests.bench.load import Faulty
from tests.bench.receiver import Receivers, receivers
from tests.bench.rounds import CPU_HEAD, ROUNDS, Measured, cpu_column, in_turn, rate, ratio
from tests.bench.subject_rows import (
    COLUMNS,
    MOMENT,
    event_sql,
    insert,
    subject_states,
    subjects_sql,
)

SOME, MANY = 3_000, 100_000  # deliveries that are due when the worker begins; our own figures
BARE, PLAIN = 20_000, 100  # posts of one measurement, as these are quicker and slower
SPREAD = 50  # receivers, where there are several
PATIENCE = 120.0  # seconds until all must have come
INTERVAL = 0.02  # seconds between two queries
ACCOUNT = "deliveries"
GONE = "TRUNCATE subjects, subscribers CASCADE"
DONE = """
    SELECT count(*) FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
    WHERE d.subscriber_id = ANY ($1) AND d.state = 'delivered' AND a.delivered
"""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who delivers what happens to which account."""

    running: Stack
    worker: str = "worker"  # the name of the process
    account: str = ACCOUNT


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
    rounds = in_turn(
        {
            "callsheet": lambda: _ours(running, receiving, SOME),
            "bare loop": lambda: _bare(receiving, body),
            "plain way": lambda: _plain(running, receiving, PLAIN),
        }
    )
    print(
        f"\ndeliveries of one worker to {len(receiving.urls)} local receiver(s): {len(body)} B,"
        f" signed; {SOME:,} due; medians of {ROUNDS} rounds in turn\n"
        f"{'':16}{'per s':>8}{'x bare':>9}{'x plain':>9}{CPU_HEAD}"
    )
    for name, found in rounds.items():
        ratios = [ratio(found, rounds[base]) for base in ("bare loop", "plain way")]
        print(f"{name:16}{rate(found):8,.0f}{ratios[0]:9.2f}{ratios[1]:9.2f}   {cpu_column(found)}")
    of_bare = ratio(rounds["callsheet"], rounds["bare loop"])
    print(f"of the bare loop: {aims.judged(of_bare, aims.DELIVERIES)}", flush=True)


def _backlog(running: Stack, receiving: Receivers) -> None:
    some, many = in_turn(
        {
            "some": lambda: _ours(running, receiving, SOME),
            "many": lambda: _ours(running, receiving, MANY, SOME),
        }
    ).values()
    print(
        f"\nthe first {SOME:,} of {MANY:,} due: {rate(many):,.0f} per s,"
        f"{CPU_HEAD}: {cpu_column(many)}\n"
        f"all of {SOME:,}: {rate(some):,.0f} per s,{CPU_HEAD}: {cpu_column(some)}\n"
        f"times as long: {aims.judged(ratio(some, many), aims.BACKLOG)}",
        flush=True,
    )


def _ours(
    running: Stack, receiving: Receivers, count: int, measured: int | None = None
) -> Measured:
    """A worker that begins with so many due, of which the first are measured; then all are gone."""
    try:
        return delivered(Sender(running), receiving, count, measured)
    finally:
        execute(running.env["CALLSHEET_DATABASE_URL"], GONE)


def delivered(
    sender: Sender, receiving: Receivers, count: int, measured: int | None = None
) -> Measured:
    """By a worker that begins with so many due: all, or the first of them."""
    running = sender.running
    url = running.env["CALLSHEET_DATABASE_URL"]
    subscribers = _subscribers(sender, receiving.urls)
    asyncio.run(_fill(url, subscribers, count))
    receiving.ask("forget")
    worker = running.child(sender.worker)
    worker.start()
    try:
        processes = {"worker": worker.pid, "Postgres": running.child("postgres").pid}
        found = _receiving_rate(processes, receiving, measured or count)
        if measured is None:
            _settled(url, subscribers, count)
    finally:
        worker.stop()
    return found


def _bare(receiving: Receivers, body: bytes) -> Measured:
    receiving.ask("forget")
    command = ["bare", json.dumps(receiving.urls), str(BARE), body.decode()]
    with _baseline(command, {}) as process:
        return _receiving_rate({"loop": process}, receiving, BARE)


def _plain(running: Stack, receiving: Receivers, count: int) -> Measured:
    url = running.env["CALLSHEET_DATABASE_URL"]
    subscribers = _subscribers(Sender(running), receiving.urls)
    ids = asyncio.run(_fill(url, subscribers, count))
    with (
        tempfile.TemporaryDirectory() as folder,
        valkey(Path(folder)) as redis,  # of its own: the service may have none
    ):
        asyncio.run(delivery_baselines.enqueue(redis.url, ids))
        receiving.ask("forget")
        env = {**running.env, "CALLSHEET_REDIS_URL": redis.url}
        try:
            with _baseline(["plain"], env) as process:
                processes = {"worker": process, "Postgres": running.child("postgres").pid}
                found = _receiving_rate(processes, receiving, count)
                _settled(url, subscribers, count)
        finally:
            execute(url, GONE)
    return found


@contextmanager
def _baseline(arguments: Sequence[str], env: Mapping[str, str]) -> Iterator[int]:
    """The id of its process, which is to end by itself."""
    command = [sys.executable, "-P", "-m", "tests.bench.delivery_baselines", *arguments]
    with subprocess.Popen(command, env={**os.environ, **env}) as process:  # noqa: S603
        yield process.pid
        if process.wait(PATIENCE):
            raise Faulty(f"{arguments[0]} ended with {process.returncode}")


def _receiving_rate(processes: Mapping[str, int], receiving: Receivers, count: int) -> Measured:
    """Per second, from the first to the last of so many; CPU for each that came between looks."""
    _until(lambda: receiving.ask()[0] > 0)
    came, before = receiving.ask()[0], cpu.usage(processes)
    _until(lambda: receiving.ask()[0] >= count)
    after, (got, first, last) = cpu.usage(processes), receiving.ask()
    return Measured((got - 1) / (last - first), cpu.each(before, after, max(got - came, 1)))


def _settled(url: str, subscribers: Sequence[tuple[str, str]], count: int) -> None:
    """Each was delivered, by one attempt that was kept."""
    ids = [subscriber for _, subscriber in subscribers]
    _until(lambda: value(url, DONE, ids) == count)


def _until(done: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not done():
        if monotonic() > deadline:
            raise Faulty("it took too long")
        sleep(INTERVAL)


def _subscribers(sender: Sender, urls: Sequence[str]) -> list[tuple[str, str]]:
    """One for each receiver: its account's id, and its own."""
    running = sender.running
    headers = {"authorization": f"Bearer {running.make_key(sender.account)}"}
    made = []
    for url in urls:
        answer = httpx.post(
            f"{running.base_url}/v1/subscribers", json={"url": url}, headers=headers
        )
        made.append(answer.raise_for_status().json()["id"])
    found = "SELECT id FROM accounts WHERE name = $1"
    account_id = value(running.env["CALLSHEET_DATABASE_URL"], found, sender.account)
    return [(str(account_id), subscriber_id) for subscriber_id in made]


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
