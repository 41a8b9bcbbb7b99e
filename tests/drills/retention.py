"""The drill of retention: a history is pruned by one process after the other, each killed in the
middle, while callers go on. What is paid and what is audited stay as they were, and a reader whose
place was pruned is told so."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx

from service.local.stack import PROGRAM, Stack
from tests.bench import history
from tests.chaos.world import RunningService, stack_with_short_leases, until
from tests.drills.commands import audit, run_command
from tests.drills.load import Callers, subscribed
from tests.drills.report import Report

SUBJECTS = 20_000  # finished ones, which were made over 30 days, the last 100 days ago
KILLED = 3  # processes that prune and are killed
LOAD = 0.1  # seconds between two requests of callers
GROWN = 1.25  # times the size: what callers made meanwhile is there too
PATIENCE = 300.0  # seconds until all is pruned
OLD = "SELECT count(*) FROM subjects WHERE finished_at < now() - interval '90 days'"
SIZE = """
    SELECT sum(pg_total_relation_size(name))::bigint AS count
    FROM unnest(CAST('{subjects,events,deliveries,attempts}' AS regclass[])) name
"""


def retention(report: Report, folder: Path, size: int = SUBJECTS, **_: float) -> None:
    """Prune a history of `size` subjects under load."""
    with stack_with_short_leases(folder / "stack") as running:
        asyncio.run(_drill(report, running, size))


async def _drill(report: Report, running: Stack, size: int) -> None:
    async with RunningService.open(running) as world, subscribed(world) as subscriber:
        ids = await world.fetch("SELECT account_id, id FROM subscribers")
        account = (str(ids[0]["account_id"]), str(ids[0]["id"]))
        url = running.env["CALLSHEET_DATABASE_URL"]
        await asyncio.to_thread(running.child("worker").stop)  # which would prune by itself
        await history.add(url, [account], size, timedelta(days=100))
        full = await _number(world, SIZE)
        report.step(f"{size:,} finished subjects are there: {full / 1e6:.0f} MB")
        usage, place = await _usage(world), await _place(world)
        await asyncio.to_thread(running.child("worker").start)
        callers = Callers(world)
        load = asyncio.create_task(callers.keep_creating(LOAD))
        try:
            await _kill_some(report, world, running)
            await until(lambda: _all_pruned(world, running), PATIENCE)
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        await until(lambda: _all_ended(world))
        await until(world.no_delivery_pending)
        report.step(f"all are pruned; callers made {len(callers.ids)} subjects meanwhile")
        told = {told.data["id"] for told in subscriber.told}
        untold = set(callers.ids.values()) - told
        report.check("the subscriber was told of each of these", holds=not untold)
        left = await _orphans(world)
        report.check("nothing is left of what was pruned", holds=not any(left.values()), found=left)
        after = [row for row in await _usage(world) if row in usage]
        report.check("the usage of the old days is as before", holds=after == usage and bool(usage))
        await _check_feed(report, world, place)
        await asyncio.to_thread(audit, report, running)
        await world.fetch("VACUUM")
        await history.add(url, [account], size, timedelta(days=10))
        again = await _number(world, SIZE)
        report.check(
            "as many made again take the room of those before",
            holds=again <= GROWN * full,
            found=f"{full / 1e6:.0f} MB, then {again / 1e6:.0f} MB",
        )


async def _kill_some(report: Report, world: RunningService, running: Stack) -> None:
    for _ in range(KILLED):
        before = await _number(world, OLD)
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            "prune",
            cwd=running.folder,
            env=dict(running.env),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:

            async def has_begun(before: int = before) -> bool:
                return await _number(world, OLD) < before

            await until(has_begun)
        finally:
            process.kill()
            await process.wait()
        report.step(f"a process that prunes is killed: {await _number(world, OLD):,} are left")


async def _all_pruned(world: RunningService, running: Stack) -> bool:
    done = await asyncio.to_thread(run_command, running, "prune")
    assert done.returncode == 0, done.stderr
    return not await _number(world, OLD)


async def _all_ended(world: RunningService) -> bool:
    return not await world.fetch("SELECT FROM subjects WHERE finished_at IS NULL")


async def _number(world: RunningService, statement: str) -> int:
    return int((await world.fetch(statement))[0]["count"])


async def _orphans(world: RunningService) -> dict[str, int]:
    """What has lost its subject, its event or its delivery."""
    without = {
        "events": "SELECT count(*) FROM events e WHERE subject_id IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM subjects WHERE id = e.subject_id)",
        "deliveries": "SELECT count(*) FROM deliveries d WHERE NOT EXISTS"
        " (SELECT FROM events WHERE id = d.event_id)",
    }
    return {table: await _number(world, statement) for table, statement in without.items()}


async def _usage(world: RunningService) -> list[dict[str, object]]:
    """The usage of the days on which the history ended, before those of the callers."""
    today = (await world.fetch("SELECT CAST(now() AT TIME ZONE 'UTC' AS date) AS day"))[0]["day"]
    days = {"from": str(today - timedelta(days=200)), "to": str(today)}
    answer = await world.http.get("/v1/usage", params=days)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, object]] = answer.json()["data"]
    return rows


async def _place(world: RunningService) -> str:
    """The place of a reader who has read one event."""
    cursor: str = (await world.http.get("/v1/events", params={"limit": 1})).json()["next_cursor"]
    return cursor


async def _check_feed(report: Report, world: RunningService, place: str) -> None:
    gone = await world.http.get("/v1/events", params={"after": place})
    report.check(
        "a reader whose place is gone is told so, with the oldest that is kept",
        holds=gone.status_code == httpx.codes.GONE and "oldest" in gone.json(),
        found=gone.status_code,
    )
    oldest = gone.json().get("oldest", "")
    page = await world.http.get("/v1/events", params={"after": oldest} if oldest else {})
    report.check(
        "and goes on from there",
        holds=page.status_code == httpx.codes.OK and bool(page.json()["data"]),
        found=page.status_code,
    )
