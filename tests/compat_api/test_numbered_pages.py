"""Numbered pages: in order, whole, and found in the index alone however deep they lie."""

import asyncpg

from service.compat_api.steps import tasks
from service.resources import Resources
from tests.schema.test_plans import FILLED, unbounded
from tests.support.database import executed_statements, fetch, query_plan, table_scans

MANY = """
    INSERT INTO accounts (id, name, created_at) VALUES ('acc_1', 'one', now());
    INSERT INTO subjects (id, account_id, external_task_id, fingerprint, document, tags, state,
        version, available_at, deadline, created_at, updated_at)
    SELECT 'sub_' || lpad(n::text, 4, '0'), 'acc_1', 'mine' || n, 'f',
        '{"reference_type": "image_refer"}', '{}', 'queued', 1, now(), now(),
        timestamptz '2026-01-01' + n / 10 * interval '1 second', now()
    FROM generate_series(0, 1199) n
"""


async def test_pages_overlap_nowhere_and_the_newest_come_first(resources: Resources) -> None:
    for statement in MANY.split(";"):
        await fetch(resources, statement)
    newest = [f"sub_{number:04}" for number in reversed(range(1200))]
    for size in (1, 30, 500):
        found = [
            subject.id
            for number in range(1, 5)
            for subject in await tasks.list_tasks(resources, "acc_1", number, size)
        ]
        assert found == newest[: 4 * size]
    assert await tasks.list_tasks(resources, "acc_1", 1000, 500) == []
    assert await tasks.list_tasks(resources, "acc_2", 1, 500) == []


async def test_what_is_skipped_is_read_in_the_index_alone(resources: Resources) -> None:
    with executed_statements() as statements:
        await tasks.list_tasks(resources, "acc_old", 2, 500)
        await tasks.find_task(resources, "acc_old", "mine1")
    assert await unbounded(resources, FILLED, statements) == []
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        (scan,) = table_scans(await query_plan(connection, statements[0]))
    finally:
        await connection.close()
    assert (scan["Node Type"], scan["Index Name"]) == ("Index Only Scan", "ix_subjects_list")
