"""The drill of a logical dump: it is restored into a cluster that has seen far fewer transactions,
by whose ids the feeds are in order. They show everything, and go on."""

import asyncio
from pathlib import Path

import httpx

from service.local.folders import make_folder
from service.local.postgres import start_postgres
from service.local.processes import Supervisor, supervised
from service.local.server import Server
from service.local.stack import Stack
from tests.chaos.world import RunningService, stack_with_short_leases, until
from tests.drills.backups import dump, restore_dump
from tests.drills.commands import audit, run_command
from tests.drills.load import Callers, Subscriber, subscribed
from tests.drills.report import Report

SUBJECTS = 20
AHEAD = 30_000  # transactions that the old cluster is ahead of the new one
COMMITS = """
    DO $$ BEGIN FOR n IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""


def dumped(report: Report, folder: Path, **_: float) -> None:
    """Move an installation into a younger cluster by pg_dump and pg_restore."""
    with (
        stack_with_short_leases(folder / "stack", delivery_schedule="1,1,1,1,1") as running,
        supervised(folder / "logs") as supervisor,
    ):
        asyncio.run(_dumped(report, folder, running, supervisor))


async def _dumped(report: Report, folder: Path, running: Stack, supervisor: Supervisor) -> None:
    async with RunningService.open(running) as world, subscribed(world) as subscriber:
        await world.fetch(COMMITS.format(count=AHEAD))
        callers = Callers(world)
        await callers.create(SUBJECTS)
        await until(lambda: _all_ended(world))
        await until(world.no_delivery_pending)
        await callers.create(SUBJECTS)  # these are under way
        before = await _feed(world)
        for name in ("web", "worker"):
            await asyncio.to_thread(running.child(name).stop)
        old = Server(running.env["CALLSHEET_DATABASE_URL"], running.child("postgres"))
        file = await asyncio.to_thread(
            dump, old, folder / "stack" / "postgres", folder / "database.dump"
        )
        younger = make_folder(folder / "younger") / "postgres"
        new = start_postgres(supervisor, younger, durable=False)
        await asyncio.to_thread(restore_dump, new, younger, file)
        report.step(f"{file.stat().st_size:,} bytes are dumped and restored")
        assert isinstance(running.env, dict)
        running.env["CALLSHEET_DATABASE_URL"] = new.url
        migrated = await asyncio.to_thread(run_command, running, "migrate")
        report.step(f"  | {migrated.stdout.strip()}")
        for name in ("worker", "web"):
            command = running.child(name).command
            assert isinstance(command.env, dict)
            command.env["CALLSHEET_DATABASE_URL"] = new.url
            await asyncio.to_thread(running.child(name).start)
        await _resume_if_held(report, world)
        await _check(report, world, callers, subscriber, before)


async def _all_ended(world: RunningService) -> bool:
    return not await world.fetch("SELECT FROM subjects WHERE finished_at IS NULL")


async def _feed(world: RunningService) -> list[str]:
    """The ids of all events of the feed."""
    found: list[str] = []
    after = None
    while True:
        params = {"limit": "200"} | ({"after": after} if after else {})
        answer = await world.http.get("/v1/events", params=params)
        assert answer.status_code == httpx.codes.OK, answer.text
        page = answer.json()
        found += [event["id"] for event in page["data"]]
        after = page["next_cursor"]
        if len(page["data"]) < 200:
            return found


async def _resume_if_held(report: Report, world: RunningService) -> None:
    if (await world.http.get("/readyz")).json()["status"] != "held":
        report.step("it is not held: nothing was lost")
        return
    done = await asyncio.to_thread(run_command, world.stack, "resume", "--yes")
    for line in done.stderr.splitlines():
        if not line.startswith("{"):  # a log line
            report.step(f"  | {line}")
    report.check("resume ends with exit code 0", holds=done.returncode == 0)


async def _check(
    report: Report,
    world: RunningService,
    callers: Callers,
    subscriber: Subscriber,
    before: list[str],
) -> None:
    after = await _feed(world)
    report.check(
        "the feed shows all that it showed before",
        holds=after[: len(before)] == before,
        found=f"{len(before)} events before, {len(after)} after",
    )
    made = await world.create("after the move")
    ended = await world.wait_until_finished(made)
    report.check("a new request goes through", holds=ended["state"] == "succeeded")
    await until(lambda: _all_ended(world))
    await until(world.no_delivery_pending)
    ids = [*callers.ids.values(), made]
    feed = await _feed(world)
    rows = await world.fetch("SELECT id FROM events WHERE subject_id IS NOT NULL")
    report.check(
        "the feed goes on, with every event",
        holds=set(feed) >= {row["id"] for row in rows} and len(feed) == len(set(feed)),
        found=f"{len(feed)} events",
    )
    told = {told.data["id"] for told in subscriber.told if told.type == "subject.succeeded"}
    untold = set(ids) - told
    report.check("the subscriber is told of every end", holds=not untold, found=f"{len(told)} ends")
    await asyncio.to_thread(audit, report, world.stack)
