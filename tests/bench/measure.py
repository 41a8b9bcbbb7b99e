"""One measurement: callbacks sent to a server as fast as it answers, and its work looked at."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from service.kit.ids import RANDOM_BYTES, new_id
from service.kit.timestamps import format_rfc3339
from service.wiring import utc_now
from tests.bench.cpu import usage
from tests.bench.database import connected
from tests.bench.lives import COLUMNS, event_sql, subject, subjects_sql
from tests.bench.load import Driven, Faulty, drive
from tests.bench.signed import prepared

CONNECTIONS = 64
ACCOUNT = "ingest"
TABLES = "subjects, events, callbacks, deliveries"
AGE = timedelta(seconds=12)  # of a subject when its callback comes

Lives = list[tuple[str, str]]

# What must be there afterwards, for each: the end, told once to the one subscriber.
_DONE = """
    SELECT count(*) FROM bench_lives l JOIN subjects s ON s.id = 'sub_' || l.stem
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

    `pid` and `postgres` are its process and the postmaster's.
    """

    name: str
    port: int
    pid: int
    postgres: int
    secret: str = field(repr=False)
    database_url: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cpu:
    """Microseconds for each callback: the web process, Postgres, and the load itself."""

    web: float
    postgres: float
    load: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement gave; no CPU times where the system does not tell."""

    driven: Driven
    cpu: Cpu | None


async def measure(target: Target, count: int) -> Measured:
    """Faulty if a callback was not answered 200, or not everything was done that it asks for."""
    lives = _lives(count)
    if target.database_url is None:
        return _measured(target, lives)
    async with _written(target.database_url, lives) as connection:
        measured = _measured(target, lives)
        done = await connection.fetchval(_DONE)
    if done != len(lives):
        raise Faulty(f"{target.name} did the work of {done} callbacks out of {len(lives)}")
    return measured


def _measured(target: Target, lives: Lives) -> Measured:
    requests = prepared(target.secret, target.port, lives)
    before = usage(target.pid, target.postgres)
    driven = drive("127.0.0.1", target.port, requests, CONNECTIONS)
    after = usage(target.pid, target.postgres)
    if before is None or after is None:
        return Measured(driven, None)
    spent = (after.web - before.web, after.postgres - before.postgres, driven.cpu)
    return Measured(driven, Cpu(*(seconds * 1e6 / len(lives) for seconds in spent)))


def _lives(count: int) -> Lives:
    """Stems and provider tasks, both in the order of time as real ones are."""
    now = utc_now()
    task = int(now.timestamp() * 1000) << 22
    stems = (new_id("", now, secrets.token_bytes(RANDOM_BYTES))[1:] for _ in range(count))
    return [(stem, str(task + n)) for n, stem in enumerate(sorted(stems))]


@asynccontextmanager
async def _written(database_url: str, lives: Lives) -> AsyncIterator[Any]:
    """A connection to a database where these are submitted, and nothing is left to be written."""
    async with connected(database_url) as connection:
        await connection.execute("CHECKPOINT")
        await connection.execute(f"CREATE TEMP TABLE bench_lives ({COLUMNS})")
        account = await connection.fetchval("SELECT id FROM accounts WHERE name = $1", ACCOUNT)
        at = utc_now() - AGE
        told = format_rfc3339(at)
        records = [(n, account, None, *life, at, told) for n, life in enumerate(lives)]
        await connection.copy_records_to_table("bench_lives", records=records)
        queued, submitted, _ = subject()
        for statement in (subjects_sql(submitted), event_sql(queued), event_sql(submitted)):
            await connection.execute(statement)
        await connection.execute(f"ANALYZE bench_lives, {TABLES}")
        yield connection
