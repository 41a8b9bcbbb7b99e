"""Stored callbacks are found by an index, however many there are."""

from typing import Any

import asyncpg

from service.callbacks.domain.verdicts import Verdict
from service.callbacks.store import archive
from service.callbacks.store.archive import CallbackFilter
from tests.support.api import Api
from tests.support.database import executed_statements, query_plan, table_scans


def bounded(scan: dict[str, Any]) -> bool:
    """Whether it goes to what is sought, or over an index of what is seldom."""
    seldom = {"ix_callbacks_verdict", "ix_callbacks_task", "ix_subjects_with_provider"}
    return "Index Cond" in scan or scan.get("Index Name", "") in seldom


async def test_what_operators_and_sweeps_ask_for_is_found_by_an_index(api: Api) -> None:
    with executed_statements() as statements:
        async with api.resources.database.transaction() as tx:
            await archive.page(tx, CallbackFilter(verdict=Verdict.REJECTED, after="cbk_1"), 50)
            await archive.page(tx, CallbackFilter(subject_id="sub_1"), 50)
            await archive.counts(tx)
            await archive.rejected_ids(tx, "provider", "", 100)
            await archive.now_matching_ids(tx, api.resources.clock(), 100)
            await archive.remove(tx, "cbk_1", Verdict.REJECTED)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        for statement in statements:
            scans = list(table_scans(await query_plan(connection, statement)))
            assert scans, statement
            assert all(
                bounded(scan) or scan["Node Type"] == "Bitmap Heap Scan" for scan in scans
            ), (
                statement,
                scans,
            )
    finally:
        await connection.close()
    assert len(statements) == 6
