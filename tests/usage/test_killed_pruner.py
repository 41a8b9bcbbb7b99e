"""A pruner that is killed leaves usage as it was, and whoever prunes next goes on."""

import asyncio
import subprocess
import sys
from datetime import date
from pathlib import Path

import asyncpg

from service.accounts.steps.action_log import command_line
from service.local.environment import environment_without_settings
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.steps import prune
from service.usage.store import usage
from service.usage.store.usage import UsageRow
from tests.support.database import fetch, wait_until_blocked
from tests.usage.test_day_table import filled

ROOT = Path(__file__).parent.parent.parent
# Two years earlier: whatever the time is for a real process, they are old.
AGED = "UPDATE subjects SET finished_at = finished_at - interval '2 years'"
# Of a subject of the second transaction: whoever prunes it notes at the installation what went.
EVENT = """
    INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
    SELECT 'evt_130_1', id, account_id, 1, 'subject.succeeded', '', created_at
    FROM subjects WHERE id = 'sub_130'
"""


async def of_all_days(resources: Resources) -> list[UsageRow]:
    async with resources.database.autocommit() as tx:
        return await usage.read(tx, date(2024, 1, 1), date(2025, 1, 1), None, 1000)


async def subjects(resources: Resources) -> int:
    return int((await fetch(resources, "SELECT count(*) FROM subjects"))[0]["count"])


async def test_a_pruner_that_is_killed_in_a_transaction_changes_no_answer(
    resources: Resources, environ: dict[str, str]
) -> None:
    await filled(resources)
    await fetch(resources, AGED)
    await fetch(resources, EVENT)
    before = await of_all_days(resources)
    blocker = await asyncpg.connect(resources.settings.database_url)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM installation FOR NO KEY UPDATE")
            pruner = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-m", "service", "prune"],
                cwd=ROOT,
                env=environment_without_settings() | environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                await wait_until_blocked(resources)  # folded, and about to delete
            finally:
                pruner.kill()
                await asyncio.to_thread(pruner.wait)
            left = await subjects(resources)
            assert 0 < left < 300, "it was killed between two transactions' commits"
            assert await of_all_days(resources) == before
    finally:
        await blocker.close()
    # Postgres ends the session of the killed one once it is not blocked any more.
    done = await prune.prune(resources, actor=command_line())
    outcomes = (Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELED)
    assert sum(done.counts[kind] for kind in outcomes) == left
    assert await subjects(resources) == 0
    assert await of_all_days(resources) == before
