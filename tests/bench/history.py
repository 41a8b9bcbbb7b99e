"""A million finished subjects with their events, callbacks and deliveries, over a few accounts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any

from service.kit.ids import ALPHABET
from service.subjects.domain.subject import Subject
from service.wiring import utc_now
from tests.bench import bulk
from tests.bench.database import connected
from tests.bench.subject_rows import (
    COLUMNS,
    MOMENT,
    RECORD,
    event_sql,
    insert,
    subject_states,
    subjects_sql,
)

SUBJECTS = 1_000_000
SPAN = timedelta(days=30)  # over which they were made, the last an hour ago
RECENT = timedelta(hours=1)

# The time of an id is its first ten digits of five bits; see kit/ids.py. Its random part is
# written with the 16 digits of hex alone, which are as good for an index.
_TIME = " || ".join(
    f"substr('{ALPHABET}', ((ms >> {shift}) & 31)::int + 1, 1)" for shift in range(45, -1, -5)
)
_MAKE = f"""
    INSERT INTO bench_subjects
    SELECT n, ($1::text[])[n % cardinality($1) + 1], ($2::text[])[n % cardinality($1) + 1],
        {_TIME} || substr(md5(n::text), 1, 16), (ms << 22)::text, to_timestamp(ms / 1000.0),
        to_char(to_timestamp(ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    FROM (
        SELECT n, $3::bigint + n * $4::bigint / $5 AS ms FROM generate_series(0, $5::int - 1) n
    ) numbered
"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Filled:
    """How long it took, in seconds, and how many bytes the database and the WAL are now."""

    seconds: float
    database: int
    wal: int

    def __str__(self) -> str:
        return (
            f"filled in {self.seconds:.0f} s: {self.database / 1e9:.1f} GB of tables and indexes, "
            f"{self.wal / 1e9:.1f} GB of WAL"
        )


async def fill(url: str, accounts: Sequence[tuple[str, str]], count: int = SUBJECTS) -> Filled:
    """Spread over accounts, each given with its one subscriber."""
    began = perf_counter()
    async with connected(url) as connection:
        await _make(connection, accounts, count, RECENT)
        await bulk.fill(url, _statements())
        await connection.execute("DROP TABLE bench_subjects")
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        wal = await connection.fetchval("SELECT sum(size)::bigint FROM pg_ls_waldir()")
    return Filled(perf_counter() - began, size, wal)


async def add(url: str, accounts: Sequence[tuple[str, str]], count: int, age: timedelta) -> None:
    """The same, as the service would: each row into every index. The last was made so long ago."""
    async with connected(url) as connection:
        await _make(connection, accounts, count, age)
        for statements in _statements().values():
            for statement in statements:
                await connection.execute(statement)
        await connection.execute("DROP TABLE bench_subjects")


async def _make(
    connection: Any,  # noqa: ANN401 - asyncpg has no types
    accounts: Sequence[tuple[str, str]],
    count: int,
    age: timedelta,
) -> None:
    span = int(SPAN.total_seconds() * 1000)
    first = int((utc_now() - age - SPAN).timestamp() * 1000)
    await connection.execute(f"CREATE UNLOGGED TABLE bench_subjects ({COLUMNS})")
    ids, subscribers = zip(*accounts, strict=True)
    await connection.execute(_MAKE, ids, subscribers, first, span, count)
    await connection.execute("ANALYZE bench_subjects")


def _statements() -> dict[str, list[str]]:
    """By table, the one with the most to do first."""
    states = subject_states()
    return {
        "events": [event_sql(state) for state in states],
        "callbacks": [insert("callbacks", _callback())],
        "subjects": [subjects_sql(states[-1])],
        "deliveries": [insert("deliveries", _delivery(states[-1]))],
        "attempts": [insert("attempts", _attempt())],
    }


def _callback() -> dict[str, object]:
    body = json.dumps(RECORD).encode()
    return {
        "id": "cbk_{stem}",
        "source": "provider",
        "dedup_key": "{task}0",
        "subject_id": "sub_{stem}",
        "body": body,
        "headers": {"webhook-id": "{task}0", "content-type": "application/json"},
        "verdict": "applied",
        "received_at": MOMENT,
        "verification": "signed",
        "task_id": "{task}",
        "status": "succeed",
        "provider_updated_at": MOMENT,
        "size": len(body),
    }


def _delivery(last: Subject) -> dict[str, object]:
    return {
        "id": "dlv_{stem}_1",
        "event_id": f"evt_{{stem}}_{last.version}",
        "subscriber_id": "{subscriber}",
        "ordering_key": last.id,
        "sequence": last.version,
        "state": "delivered",
        "attempts": 1,
        "created_at": MOMENT,
        "finished_at": MOMENT,
    }


def _attempt() -> dict[str, object]:
    return {
        "delivery_id": "dlv_{stem}_1",
        "number": 1,
        "started_at": MOMENT,
        "status": 200,
        "latency_ms": 3.5,
        "response_body": b"ok",
        "delivered": "true",
    }
