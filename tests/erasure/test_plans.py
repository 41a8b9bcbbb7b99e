"""A deletion is claimed and recorded by the indexes of what waits, however many there were."""

import asyncpg
import pytest

from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.database import executed_statements, query_plan, table_scans
from tests.support.provider_deletions import ask, made_subject
from tests.support.simulator import SimulatorClient

ENDED = """
    INSERT INTO erasures (subject_id, state, requested_at, finished_at)
    SELECT 'sub_old' || n, 'done', now(), now() FROM generate_series(1, 5000) n
"""
WAITING = """
    INSERT INTO erasures (subject_id, state, next_try_at, requested_at)
    SELECT 'sub_new' || n, 'pending', now(), now() FROM generate_series(1, 5000) n
"""


@pytest.mark.parametrize("rows", ["SELECT", ENDED, WAITING], ids=["few", "history", "queue"])
async def test_a_deletion_finds_its_rows_by_an_index(
    api: Api, provider: SimulatorClient, rows: str
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 1101})
    with executed_statements() as statements:
        await ask(api, subject_id)
        await api.work(Work.ERASE)
        api.resources.clock.advance(60)  # type: ignore[attr-defined] # a test's Clock
        await api.work(Work.ERASE)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        await connection.execute(f"{rows}; ANALYZE")
        plans = [
            await query_plan(connection, statement)
            for statement in dict.fromkeys(statements)
            if "erasures" in statement
        ]
    finally:
        await connection.close()
    of_erasures = [
        scan
        for plan in plans
        for scan in table_scans(plan)
        if scan.get("Relation Name") == "erasures"
    ]
    assert "Seq Scan" not in {scan["Node Type"] for scan in of_erasures}
    assert {scan["Index Name"] for scan in of_erasures if "Index Name" in scan} >= {
        "ix_erasures_pending",
        "ix_erasures_stopped",
    }
