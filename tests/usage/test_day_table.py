"""A day's usage is the same whatever of it is reckoned, and whatever of it is pruned."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from service.kit.database.connection import Connection
from service.resources import Resources
from service.retention.steps import prune
from service.usage.domain.usage import Outcome
from service.usage.store import day_table, usage
from service.usage.store.usage import UsageRow
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked

FIRST = date(2026, 11, 1)
END = date(2026, 11, 6)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
# Of each day sixty of two accounts: every outcome, both reference types, units or none.
FILLED = """
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,
        provider_task_id, result, error, units, creates_saved, available_at, deadline, created_at,
        updated_at, finished_at)
    SELECT 'sub_' || n, accounts[1 + n % 2], 'f',
        jsonb_build_object(
            'reference_type', CASE WHEN n % 3 = 0 THEN 'video_refer' ELSE 'image_refer' END
        ),
        '{}', state, 3,
        CASE WHEN state <> 'canceled' AND code <> 'media_format' THEN 'task_' || n END,
        CASE WHEN state = 'succeeded' THEN CAST('{}' AS jsonb) END,
        CASE WHEN state = 'failed' THEN jsonb_build_object('code', code) END,
        CASE WHEN state = 'succeeded' THEN n * 0.1 END, n % 2, at, at, at, at, at
    FROM (
        SELECT n, CAST($1 AS text[]) AS accounts,
            (ARRAY['succeeded', 'failed', 'canceled', 'succeeded', 'failed'])[1 + n % 5] AS state,
            CASE WHEN n % 5 = 1 THEN 'media_format' ELSE 'provider_failed' END AS code,
            timestamptz '2026-11-01T00:00:00Z' + n * interval '1440 seconds' AS at
        FROM generate_series(0, 299) n
    ) made
"""

LATE = """
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version, available_at,
        deadline, created_at, updated_at, finished_at)
    VALUES ($1, 'acc_a', 'f', '{"reference_type": "image_refer"}', '{}', 'canceled', 2, now(),
        now(), now(), now(), '2026-11-01T01:00:00Z')
"""


async def filled(resources: Resources) -> None:
    accounts = ["acc_a", "acc_b"]
    for account in accounts:
        await fetch(
            resources,
            "INSERT INTO accounts (id, name, created_at) VALUES ($1, $1, now())",
            account,
        )
    await fetch(resources, FILLED, accounts)


async def read(resources: Resources, account: str | None = None) -> list[UsageRow]:
    async with resources.database.autocommit() as tx:
        return await usage.read(tx, FIRST, END, account, 1000)


async def reckon(resources: Resources) -> list[date]:
    """Reckon every day for which that is due."""
    days: list[date] = []
    while True:
        async with resources.database.transaction() as tx:
            day = await day_table.reckon_next(tx, NOW)
        if day is None:
            return days
        days.append(day)


async def prune_next(tx: Connection, limit: int) -> int:
    """Fold and delete so many subjects, the oldest first; how many there were."""
    rows = await tx.execute(text("SELECT id FROM subjects ORDER BY id LIMIT :n"), {"n": limit})
    ids = [row["id"] for row in rows]
    await day_table.fold(tx, ids)
    await tx.execute(
        text("DELETE FROM subjects WHERE id = ANY (CAST(:ids AS text[]))"), {"ids": ids}
    )
    return len(ids)


async def prune_all(resources: Resources, limit: int) -> None:
    pruned = limit
    while pruned:
        async with resources.database.transaction() as tx:
            pruned = await prune_next(tx, limit)


async def cut_off_prune(resources: Resources) -> None:
    async with resources.database.transaction() as tx:
        await prune_next(tx, 100)
        raise KeyboardInterrupt


def total(rows: list[UsageRow]) -> tuple[int, Decimal]:
    return sum(row.count for row in rows), sum((row.units for row in rows), Decimal())


async def test_pruning_everything_changes_no_answer(resources: Resources) -> None:
    await filled(resources)
    before, of_one = await read(resources), await read(resources, "acc_a")
    assert total(before) == (
        300,
        sum((Decimal(n) / 10 for n in range(300) if n % 5 in {0, 3}), Decimal()),
    )
    assert of_one == [row for row in before if row.account_id == "acc_a"]
    assert {row.outcome for row in before} == set(Outcome)
    assert await reckon(resources) == [FIRST + timedelta(days=n) for n in range(29)]
    assert await read(resources) == before
    async with resources.database.transaction() as tx:
        await prune_next(tx, 70)
    assert await read(resources) == before
    assert await reckon(resources)  # some days have lost a part of their subjects
    assert await read(resources) == before
    await prune_all(resources, 70)
    assert await read(resources) == before
    assert await read(resources, "acc_a") == of_one


async def test_the_worker_reckons_what_is_over_and_prunes_what_is_old_and_the_answer_stays(
    resources: Resources, clock: Clock
) -> None:
    """What is pruned is the state's own age: failed subjects are kept for longer than others."""
    await filled(resources)
    before = await read(resources)
    kept = {31: 240, 91: 120, 181: 0}  # days after the last end, and the subjects that are left
    for days, left in kept.items():
        clock.now = datetime(2026, 11, 6, tzinfo=UTC) + timedelta(days=days)
        await prune.run_if_due(resources)
        assert (await fetch(resources, "SELECT count(*) FROM subjects"))[0]["count"] == left
        assert await read(resources) == before
    assert await fetch(resources, "SELECT 1 FROM usage_days WHERE pruned")


async def test_a_pruner_that_is_cut_off_changes_no_answer(resources: Resources) -> None:
    await filled(resources)
    await reckon(resources)
    before = await read(resources)
    with pytest.raises(KeyboardInterrupt):
        await cut_off_prune(resources)
    assert await read(resources) == before
    await prune_all(resources, 100)
    assert await read(resources) == before


async def test_who_reads_while_a_pruner_is_under_way_gets_the_same_answer(
    resources: Resources,
) -> None:
    await filled(resources)
    before = await read(resources)
    async with resources.database.transaction() as tx:
        await prune_next(tx, 100)
        assert await read(resources) == before
    assert await read(resources) == before


async def test_no_day_is_reckoned_while_a_pruner_is_under_way(resources: Resources) -> None:
    """It would count what is being pruned once more."""
    await filled(resources)
    before = await read(resources)
    async with resources.database.transaction() as tx:
        await prune_next(tx, 100)
        reckoning = asyncio.create_task(reckon(resources))
        await wait_until_blocked(resources)
    await reckoning
    assert await read(resources) == before


async def test_who_ends_late_on_a_day_that_is_reckoned_or_pruned_is_counted(
    resources: Resources,
) -> None:
    await filled(resources)
    before = await read(resources)
    await reckon(resources)
    await fetch(resources, LATE, "sub_late")
    assert await read(resources) == before  # not seen yet
    await prune_all(resources, 100)
    after = await read(resources)
    assert total(after)[0] == 301
    await fetch(resources, LATE, "sub_later")
    assert total(await read(resources))[0] == 302
    await prune_all(resources, 100)
    assert total(await read(resources))[0] == 302


async def test_a_day_is_reckoned_an_hour_after_its_end_and_once_more_a_week_later(
    resources: Resources,
) -> None:
    await filled(resources)
    reckoned = []
    for now in (
        datetime(2026, 11, 2, 0, 59, tzinfo=UTC),
        datetime(2026, 11, 2, 1, 0, tzinfo=UTC),
        datetime(2026, 11, 2, 1, 1, tzinfo=UTC),
    ):
        async with resources.database.transaction() as tx:
            reckoned.append(await day_table.reckon_next(tx, now))
    assert reckoned == [None, FIRST, None]
    await reckon(resources)
    assert (await fetch(resources, "SELECT count(*) FROM usage_reckonings"))[0]["count"] == 29
