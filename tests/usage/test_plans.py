"""Usage is read day by day, by the ends of subjects and never by what an account ever had."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.resources import Resources
from service.usage.steps import reckon
from service.usage.store import day_table, reconciliation, usage
from tests.schema.test_plans import EMPTIED, FILLED, unbounded
from tests.support.database import executed_statements, query_plan, table_scans

# A month of one account: five thousand subjects a day, which are the same everywhere.
USED = f"""
    {FILLED};
    UPDATE subjects SET finished_at = now() - CAST(substr(id, 8) AS int) * interval '9 minutes';
    INSERT INTO usage_days SELECT CAST(day AS date), 'acc_old', 'image_refer', 'succeeded', pruned,
        1, 1, 0, 0
    FROM generate_series(now() - interval '900 days', now(), interval '1 day') day,
        (VALUES (true), (false)) parts (pruned);
    INSERT INTO usage_reckonings SELECT DISTINCT day, now() FROM usage_days;
    INSERT INTO refusals SELECT DISTINCT day, 'acc_old', '', 1 FROM usage_days;
    ANALYZE
"""  # noqa: S608 - our own words


async def scans_of(
    resources: Resources, tables: str, statements: list[str]
) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute(tables)
        plans = [await query_plan(connection, statement) for statement in dict.fromkeys(statements)]
    finally:
        await connection.close()
    return [scan for plan in plans for scan in table_scans(plan)]


@pytest.mark.parametrize("tables", [EMPTIED, USED], ids=["empty", "history"])
async def test_usage_is_read_by_days_and_by_the_ends_of_subjects(
    resources: Resources, tables: str
) -> None:
    now = resources.clock()
    with executed_statements() as statements:
        async with resources.database.autocommit() as tx:
            for account in ("acc_old", None):
                await usage.read(tx, now.date(), now.date() + timedelta(days=1), account, 10)
        async for _ in reconciliation.ended_with_task(resources.database, now, now):
            pass
        await reckon.reckon(resources)
    scans = await scans_of(resources, tables, statements)
    by_table = {
        table: {scan["Index Name"] for scan in scans if scan.get("Relation Name") == table}
        for table in ("subjects", "usage_days", "usage_reckonings", "refusals")
    }
    assert by_table == {
        "subjects": {"ix_subjects_finished"},
        "usage_days": {"pk_usage_days"},
        "usage_reckonings": {"pk_usage_reckonings"},
        "refusals": {"pk_refusals"},
    }
    for scan in scans:
        if scan.get("Relation Name") == "subjects":
            assert "finished_at" in scan["Index Cond"] or scan["Node Type"] == "Index Only Scan"


async def test_what_is_folded_is_read_by_its_ids(resources: Resources) -> None:
    with executed_statements() as statements:
        async with resources.database.transaction() as tx:
            await day_table.fold(tx, ["sub_old1"])
            await reconciliation.by_ids(tx, ["sub_old1"])
    assert not await unbounded(resources, FILLED, statements)
