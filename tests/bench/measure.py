"""One measurement: callbacks sent to a server as fast as it answers, and its work checked."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from service.kit.ids import RANDOM_BYTES, new_id
from service.kit.timestamps import format_rfc3339
from service.wiring import utc_now
from tests.bench.cpu import each, usage
from tests.bench.database import connected
from tests.bench.load import Faulty, drive
from tests.bench.rounds import Measured
from tests.bench.signed import prepared
from tests.bench.subject_rows import COLUMNS, event_sql, subject_states, subjects_sql

CONNECTIONS = 64
ACCOUNT = "ingest"
TABLES = "subjects, events, callbacks, deliveries"
AGE = timedelta(seconds=12)  # of a subject when its callback comes

SubjectIds = list[tuple[str, str]]

# What must be there afterwards, for each: its end, and one delivery of it to the only subscriber.
_DONE = """
    SELECT count(*) FROM bench_subjects l JOIN subjects s ON s.id = 'sub_' || l.stem
    WHERE s.state = 'succeeded' AND s.version = 3 AND s.provider_task_id = l.task
    AND s.result ->> 'element_id' = '829836802793406551'
    AND (SELECT count(*) FROM callbacks c WHERE c.subject_id = s.id AND c.verdict = 'applied') = 1
    AND (SELECT string_agg(e.type, ' ' ORDER BY e.sequence) FROM events e WHERE e.subject_id = s.id)
        = 'subject.queued subject.submitted subject.succeeded'
    AND (
        SELECT array_agg(d.sequence || d.state) FROM events e JOIN deliveries d ON d.event_id = e.id
        WHERE e.subject_id = s.id
    ) = '{3pending}'
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that takes callbacks; without a database it does no more than answer.

    `processes` are the ids of those that do its work, by the names that they are shown under.
    """

    name: str
    port: int
    processes: Mapping[str, int]
    secret: str = field(repr=False)
    database_url: str | None = field(repr=False)


async def measure(target: Target, count: int) -> Measured:
    """Faulty if a callback was not answered 200, or not everything was done that it asks for."""
    subject_ids = _new_subject_ids(count)
    if target.database_url is None:
        return send(target, _callbacks(target, subject_ids), CONNECTIONS)
    async with _written(target.database_url, subject_ids) as connection:
        measured = send(target, _callbacks(target, subject_ids), CONNECTIONS)
        done = await connection.fetchval(_DONE)
    if done != len(subject_ids):
        raise Faulty(f"{target.name} did the work of {done} callbacks out of {len(subject_ids)}")
    return measured


def send(target: Target, requests: Sequence[bytes], connections: int) -> Measured:
    """Faulty if one was not answered well; the CPU of the load is told too."""
    before = usage(target.processes)
    driven = drive("127.0.0.1", target.port, requests, connections)
    spent = each(before, usage(target.processes), len(requests))
    load = driven.cpu * 1e6 / len(requests)
    return Measured(driven.rate, {**spent, "load": load}, driven.latencies)


def _callbacks(target: Target, subject_ids: SubjectIds) -> list[bytes]:
    return prepared(target.secret, target.port, subject_ids)


def _new_subject_ids(count: int) -> SubjectIds:
    """Stems and provider tasks, both in the order of time as real ones are."""
    now = utc_now()
    task = int(now.timestamp() * 1000) << 22
    stems = (new_id("", now, secrets.token_bytes(RANDOM_BYTES))[1:] for _ in range(count))
    return [(stem, str(task + n)) for n, stem in enumerate(sorted(stems))]


@asynccontextmanager
async def _written(database_url: str, subject_ids: SubjectIds) -> AsyncIterator[Any]:
    """A connection to a database where these are submitted, and nothing is left to be written."""
    async with connected(database_url) as connection:
        await connection.execute("CHECKPOINT")
        await connection.execute(f"CREATE TEMP TABLE bench_subjects ({COLUMNS})")
        account = await connection.fetchval("SELECT id FROM accounts WHERE name = $1", ACCOUNT)
        at = utc_now() - AGE
        at_text = format_rfc3339(at)
        records = [(n, account, None, *ids, at, at_text) for n, ids in enumerate(subject_ids)]
        await connection.copy_records_to_table("bench_subjects", records=records)
        queued, submitted, _ = subject_states()
        for statement in (subjects_sql(submitted), event_sql(queued), event_sql(submitted)):
            await connection.execute(statement)
        await connection.execute(f"ANALYZE bench_subjects, {TABLES}")
        yield connection
