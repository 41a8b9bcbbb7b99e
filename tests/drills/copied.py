"""The drill of a copy: the data of a running installation is copied, and served at another
address. The copy sends nothing, submits nothing and asks nothing until somebody adopts it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from service.local.folders import make_folder
from service.local.ports import HOST, free_port
from service.local.postgres import start_postgres
from service.local.processes import supervised
from service.local.server import Server
from service.local.stack import Stack
from service.local.valkey import start_valkey
from tests.chaos.world import LEASE, RunningService, stack_with_short_leases, until
from tests.drills.backups import copy_cluster
from tests.drills.commands import audit, run_command
from tests.drills.load import Callers, Subscriber, subscribed
from tests.drills.report import Report

SETTINGS = {"provider_parallel": "5", "delivery_schedule": ",".join(["1"] * 60)}
SUBJECTS = 30
QUIET = 5 * LEASE  # seconds that nothing may be sent in


def copied(report: Report, folder: Path, **_: float) -> None:
    """Copy an installation that has a queue, tasks with the provider and deliveries pending."""
    with stack_with_short_leases(folder / "original", **SETTINGS) as running:
        asyncio.run(_copied(report, folder, running))


async def _copied(report: Report, folder: Path, running: Stack) -> None:
    async with RunningService.open(running) as world, subscribed(world) as subscriber:
        await world.change_simulator_settings(processing_after=1, finished_after=4)
        await _fill(report, world, subscriber)
        original, copy = folder / "original" / "postgres", make_folder(folder / "copy")
        server = Server(running.env["CALLSHEET_DATABASE_URL"], running.child("postgres"))
        await asyncio.to_thread(copy_cluster, server, original, copy / "postgres")
        for name in ("web", "worker"):
            await asyncio.to_thread(running.child(name).kill)
        report.step("the data is copied; the original's web and worker are away")
        subscriber.failing = False
        with copy_of(running, copy) as copied_stack:
            async with _caller_of(copied_stack, world) as there:
                await _check_copy(report, there, subscriber)
                await _adopt(report, there, subscriber)
        for name in ("web", "worker"):
            await asyncio.to_thread(running.child(name).start)
        await _check_original(report, world)


async def _fill(report: Report, world: RunningService, subscriber: Subscriber) -> None:
    subscriber.failing = True
    await Callers(world).create(SUBJECTS)

    async def some_are_with_the_provider() -> bool:
        rows = await world.fetch("SELECT FROM subjects WHERE state IN ('submitted', 'processing')")
        return len(rows) >= 3 and bool(subscriber.told)

    await until(some_are_with_the_provider)
    states = await world.fetch("SELECT state, count(*) FROM subjects GROUP BY state")
    pending = await world.fetch("SELECT FROM deliveries WHERE state = 'pending'")
    counted = {row["state"]: row["count"] for row in states}
    report.step(f"the original has {counted}, and {len(pending)} deliveries pending")


@contextmanager
def copy_of(original: Stack, folder: Path) -> Iterator[Stack]:
    """Web and worker of the copy, at an address of its own, over its own Postgres and Redis, with
    the original's provider and secrets."""
    port = free_port()
    base_url = f"http://{HOST}:{port}"
    with supervised(folder / "logs") as supervisor:
        server = start_postgres(supervisor, folder / "postgres", durable=False)
        env = {
            **original.env,
            "CALLSHEET_DATABASE_URL": server.url,
            "CALLSHEET_REDIS_URL": start_valkey(supervisor, folder / "valkey").url,
            "CALLSHEET_PUBLIC_URL": base_url,
            "CALLSHEET_PORT": str(port),
        }
        copy = Stack(supervisor, folder, env, base_url, original.simulator_url)
        copy.call("migrate")
        copy.add("worker", "worker").start()
        copy.add("web", "web", ready=f"{base_url}/readyz").start()
        yield copy


@asynccontextmanager
async def _caller_of(copy: Stack, world: RunningService) -> AsyncIterator[RunningService]:
    """A caller of the copy, with the original's key."""
    headers = {"authorization": world.http.headers["authorization"]}
    async with httpx.AsyncClient(
        base_url=copy.base_url, headers=headers, trust_env=False, timeout=30
    ) as http:
        yield RunningService(copy, http)


async def _check_copy(report: Report, there: RunningService, subscriber: Subscriber) -> None:
    ready = await there.http.get("/readyz")
    report.check(
        "the copy is ready, and held",
        holds=ready.status_code == httpx.codes.OK and ready.json()["status"] == "held",
        found=ready.json()["checks"]["installation"],
    )
    await there.wait_for_log(there.stack.child("worker"), "installation_held")
    before, told = (await there.ledger())["counts"], len(subscriber.told)
    waiting = await there.create("while held")
    await asyncio.sleep(QUIET)
    book = (await there.ledger())["counts"]
    calls = {
        name: book[name] - before.get(name, 0)
        for name in book
        if name.startswith(("creates", "lookups")) and book[name] != before.get(name, 0)
    }
    report.check(
        f"in {QUIET:.0f} s the copy submits nothing, and asks nothing",
        holds=not calls,
        found=calls or "no call",
    )
    new = len(subscriber.told) - told
    report.check("it tells nobody anything", holds=new == 0, found=f"{new} deliveries")
    page = (await there.http.get("/v1/subjects", params={"limit": 200})).json()["data"]
    report.check(
        "it shows everything, and takes requests, which wait",
        holds=len(page) == SUBJECTS + 1 and (await there.read(waiting))["state"] == "queued",
        found=f"{len(page)} subjects",
    )
    resumed = await asyncio.to_thread(run_command, there.stack, "resume", "--yes")
    report.check(
        "resume is refused there",
        holds=resumed.returncode != 0,
        found=resumed.stderr.splitlines()[-1],
    )


async def _adopt(report: Report, there: RunningService, subscriber: Subscriber) -> None:
    before, told = (await there.ledger())["counts"], len(subscriber.told)
    adopted = await asyncio.to_thread(run_command, there.stack, "adopt", "--yes")
    output = adopted.stdout if adopted.returncode == 0 else adopted.stderr
    for line in output.splitlines():
        report.step(f"  | {line}")
    report.check("adopt ends with exit code 0", holds=adopted.returncode == 0)
    made = await there.create("after it was adopted")
    ended = await there.wait_until_finished(made)
    report.check("a new request goes through there", holds=ended["state"] == "succeeded")
    await asyncio.sleep(LEASE)
    book = (await there.ledger())["counts"]
    created = book["creates_accepted"] - before["creates_accepted"]
    report.check("and it alone is submitted", holds=created == 1, found=f"{created} creates")
    new = len(subscriber.told) - told
    report.check("the original's subscriber is told nothing", holds=new == 0, found=new)
    states = await there.fetch("SELECT state, count(*) FROM subjects GROUP BY state")
    report.step(f"the copy has { ({row['state']: row['count'] for row in states}) }")


async def _check_original(report: Report, world: RunningService) -> None:
    async def all_ended() -> bool:
        return not await world.fetch("SELECT FROM subjects WHERE finished_at IS NULL")

    await until(all_ended, 90)
    await until(world.no_delivery_pending, 90)
    states = await world.fetch("SELECT state, count(*) FROM subjects GROUP BY state")
    counted = {row["state"]: row["count"] for row in states}
    report.check("the original goes on", holds=counted == {"succeeded": SUBJECTS}, found=counted)
    creates = [
        create["external_task_id"]
        for create in (await world.ledger())["creates"]
        if create["outcome"] == "accepted"
    ]
    twice = len(creates) - len(set(creates))
    report.check("nothing was paid twice", holds=twice == 0, found=f"{len(creates)} creates")
    await asyncio.to_thread(audit, report, world.stack)
