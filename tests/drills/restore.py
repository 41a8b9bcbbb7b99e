"""The drill of a restore: under load, Postgres is stopped and put back to a backup of a while ago.

What holds then is counted: nothing is sent until somebody says what the database is, nothing is
paid for twice, nobody is told of what was erased, and nothing is missed that the provider knows.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.local.server import Server
from service.local.stack import Stack
from tests.chaos.world import LEASE, RunningService, stack_with_short_leases, until
from tests.drills.backups import put_back, take_backup
from tests.drills.commands import audit, run_command
from tests.drills.load import FAULTS, Callers, Subscriber, subscribed
from tests.drills.report import Report

SETTINGS = {
    "provider_parallel": "10",
    "delivery_timeout": "2",
    "delivery_schedule": ",".join(["0.5"] * 20),
    "polls_per_second": "50",
}
EACH = 0.4  # seconds from one request to the next
BURST = 30  # requests at once before the backup, so that it has a queue
ERASED = 3  # subjects that are erased, of those that the backup has ended, and of those it has not
QUIET = 4 * LEASE  # seconds that nothing may be sent in
ENDS = 120.0  # seconds until all must have ended
SHOWN = 3  # tasks that nobody knows, of all that are counted
TOLD_OF_ERASED = {"subject.deleted"}


@dataclass
class Before:
    """What is known of the minutes that the restore loses."""

    erased: list[str] = field(default_factory=list)  # subjects that were erased in them
    cursor: str = ""  # of the feed, at their end
    key: str = ""  # that was revoked in them


def restore(report: Report, folder: Path, *, lost: float, restarted: bool, **_: float) -> None:
    """Lose `lost` seconds while processes live, or are all restarted with the database."""
    with stack_with_short_leases(folder, **SETTINGS) as running:
        asyncio.run(_restore(report, running, lost, restarted=restarted))


async def _restore(report: Report, running: Stack, lost: float, *, restarted: bool) -> None:
    async with RunningService.open(running) as world, subscribed(world) as subscriber:
        await RestoreDrill(report, world, subscriber).run(lost, restarted=restarted)


class RestoreDrill:
    def __init__(self, report: Report, world: RunningService, subscriber: Subscriber) -> None:
        self.report, self.world, self.subscriber = report, world, subscriber
        self.stack, self.callers, self.before = world.stack, Callers(world), Before()
        self.commands_log = self.stack.supervisor.logs / "commands.log"

    async def run(self, lost: float, *, restarted: bool) -> None:
        await self.world.add_faults(FAULTS)
        await self.world.change_simulator_settings(processing_after=0.5, finished_after=2.5)
        loading = asyncio.create_task(self.callers.keep_creating(EACH))
        backup = await self._back_up()
        await self._lose(lost)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        told = len(self.subscriber.told)
        self.report.step(
            f"{lost:.0f} s later: {len(self.callers.ids)} accepted, {told} deliveries, "
            f"{len(self.before.erased)} erased, 1 key revoked"
        )
        back_at = await self._put_back(backup, restarted=restarted)
        await self._check_held()
        unknown = await self._resume()
        await self.callers.repeat_what_is_lost()
        again = len(self.callers.again)
        self.report.step(f"callers repeated {again} requests that the service does not know")
        await self._check_all(unknown, back_at)

    async def _back_up(self) -> Path:
        await until(self._some_have_ended)
        self.before.key = self.stack.make_key("acme")
        await self.callers.create(BURST)
        server = self._server()
        backup = await asyncio.to_thread(take_backup, server, self.stack.folder / "postgres")
        states = await self._states()
        self.report.step(f"physical backup under load, of {states}")
        return backup

    async def _some_have_ended(self) -> bool:
        return (await self._states()).get("succeeded", 0) >= 2 * ERASED

    async def _states(self) -> dict[str, int]:
        rows = await self.world.fetch("SELECT state, count(*) FROM subjects GROUP BY state")
        return {row["state"]: row["count"] for row in rows}

    async def _ids(self, condition: str) -> list[str]:
        statement = f"SELECT id FROM subjects WHERE {condition} ORDER BY id"  # noqa: S608 - our own
        return [row["id"] for row in await self.world.fetch(statement)]

    async def _lose(self, lost: float) -> None:
        """What happens in the time that will be lost."""
        began = time.monotonic()
        ended = await self._ids("state = 'succeeded'")
        unfinished = await self._ids("finished_at IS NULL AND state IN ('queued', 'submitted')")
        await asyncio.sleep(lost / 2)
        chosen = ended[:ERASED] + await self._ended_of(unfinished)
        for subject_id in chosen:
            answer = await self.world.http.delete(f"/v1/subjects/{subject_id}")
            assert answer.status_code == httpx.codes.OK, answer.text
        self.before.erased = chosen
        revoked = run_command(self.stack, "keys", "revoke", self._newest_key())
        assert revoked.returncode == 0, revoked.stderr
        self.commands_log.write_text(revoked.stderr)
        await asyncio.sleep(max(0.0, began + lost - time.monotonic()))
        page = (await self.world.http.get("/v1/events", params={"limit": 200})).json()
        self.before.cursor = page["next_cursor"]

    async def _ended_of(self, ids: list[str]) -> list[str]:
        """ERASED of these subjects, once so many have ended."""
        found: list[str] = []

        async def enough() -> bool:
            nonlocal found
            ended = set(await self._ids("state = 'succeeded' AND erased_at IS NULL"))
            found = [id_ for id_ in ids if id_ in ended][:ERASED]
            return len(found) == ERASED

        await until(enough)
        return found

    def _newest_key(self) -> str:
        listed = run_command(self.stack, "keys", "list", "--account", "acme").stdout
        return max(line.split()[0] for line in listed.splitlines())

    def _server(self) -> Server:
        return Server(self.stack.env["CALLSHEET_DATABASE_URL"], self.stack.child("postgres"))

    async def _put_back(self, backup: Path, *, restarted: bool) -> float:
        """Put the backup in the place of the database; when that was done (time.monotonic())."""
        names = ("web", "worker") if restarted else ()
        for name in names:
            await asyncio.to_thread(self.stack.child(name).kill)
        await asyncio.to_thread(put_back, self._server(), self.stack.folder / "postgres", backup)
        back_at = time.monotonic()
        for name in names:
            await asyncio.to_thread(self.stack.child(name).start)
        self.report.step(
            f"Postgres is put back to the backup{', and all are restarted' if restarted else ''}: "
            f"{await self._states()}"
        )
        return back_at

    async def _check_held(self) -> None:
        await self._wait_for_log("installation_held")
        self.report.check("every process says that it is held", holds=await self._is_held())
        await asyncio.sleep(2 * LEASE)  # what was on its way has arrived
        sent, told = await self._sent(), len(self.subscriber.told)
        accepted = await self.world.create("calm", external_task_id="while-held")
        self.callers.ids["while-held"] = accepted
        await asyncio.sleep(QUIET)
        now_sent, now_told = await self._sent(), len(self.subscriber.told)
        self.report.check(
            f"held, nothing is submitted, looked up or told in {QUIET:.0f} s",
            holds=(sent, told) == (now_sent, now_told),
            found=f"{sent} and {told} deliveries before, {now_sent} and {now_told} after",
        )
        read = await self.world.read(accepted)
        self.report.check("held, a request is accepted and waits", holds=read["state"] == "queued")

    async def _is_held(self) -> bool:
        answer = await self.world.http.get("/readyz")
        return answer.status_code == httpx.codes.OK and answer.json()["status"] == "held"

    async def _wait_for_log(self, action: str) -> None:
        for name in ("web", "worker"):
            await self.world.wait_for_log(self.stack.child(name), action)

    async def _sent(self) -> dict[str, int]:
        """How many creates and look-ups the provider has received."""
        book = await self.world.ledger()
        return {kind: len(book[kind]) for kind in ("creates", "lookups")}

    async def _resume(self) -> list[str]:
        """Resume with the logs of all processes; the lines on standard output."""
        logs = self.stack.folder / "logs-of-all.jsonl"
        found = sorted(self.stack.supervisor.logs.glob("w*.log"))
        texts = [path.read_text() for path in [*found, self.commands_log]]
        logs.write_text("".join(texts))
        began = time.monotonic()
        done = await asyncio.to_thread(
            run_command, self.stack, "resume", "--erasures", str(logs), "--yes"
        )
        self.report.check("resume ends with exit code 0", holds=done.returncode == 0)
        tasks = done.stdout.splitlines()
        for line in [*tasks[:SHOWN], *(["…"] if tasks[SHOWN:] else [])]:
            self.report.step(f"  | {line}")
        for line in done.stderr.splitlines():
            if not line.startswith("{"):  # a log line
                self.report.step(f"  | {line}")
        self.report.step(f"resumed in {time.monotonic() - began:.1f} s")
        return done.stdout.splitlines()

    async def _check_all(self, unknown: list[str], back_at: float) -> None:
        await until(self._all_have_ended, ENDS)
        await until(self.world.no_delivery_pending, ENDS)
        await self._check_provider(unknown)
        await self._check_erased(back_at)
        await self._check_callers()
        await asyncio.to_thread(audit, self.report, self.stack)
        faults = self.world.faults_logged()
        self.report.check("no fault is logged", holds=not faults, found=faults[:1])

    async def _all_have_ended(self) -> bool:
        return not await self._ids("finished_at IS NULL")

    async def _check_provider(self, unknown: list[str]) -> None:
        tasks = await self._tasks()
        creates = (await self.world.ledger())["creates"]
        asked = [create["external_task_id"] for create in creates]
        again = len(asked) - len(set(asked))  # the provider would refuse them, by their id
        self.report.check(
            "nothing is paid twice, nor asked for twice",
            holds=again == 0 and len(tasks) == len(asked),
            found=f"{len(tasks)} tasks, {len(asked)} creates, {again} of what was there already",
        )
        ended = {
            row["id"]: row["state"]
            for row in await self.world.fetch("SELECT id, state FROM subjects")
        }
        words = {"succeed": "succeeded", "failed": "failed"}
        missed = {
            id_: (ended[id_], status)
            for id_, status in tasks.items()
            if id_ in ended and ended[id_] != words.get(status)
        }
        self.report.check(
            "every task of a subject ends here as it did there",
            holds=not missed,
            found=f"{sum(id_ in ended for id_ in tasks)} tasks, other ends: {missed}",
        )
        orphans = {id_ for id_ in tasks if id_ not in ended}
        listed = {word for line in unknown for word in line.split() if word.startswith("sub_")}
        self.report.check(
            "the tasks that nobody knows here are those that resume has listed",
            holds=bool(orphans) and orphans == listed,
            found=f"{len(orphans)} unknown, {len(listed)} listed",
        )

    async def _tasks(self) -> dict[str, str]:
        """The status of each of the provider's tasks, by its external id."""
        found, number = {}, 1
        while True:
            page = await self.world.provider_records(pageNum=number, pageSize=500)
            for record in page:
                found[record["task_info"]["external_task_id"]] = record["task_status"]
            if len(page) < 500:
                return found
            number += 1

    async def _check_erased(self, back_at: float) -> None:
        erased = set(self.before.erased)
        told = [t for t in self.subscriber.since(back_at) if t.data["id"] in erased]
        wrong = [t.type for t in told if t.type not in TOLD_OF_ERASED]
        deleted = {t.data["id"] for t in told if t.type in TOLD_OF_ERASED}
        self.report.check(
            "nobody is told of what was erased but that it is deleted",
            holds=not wrong and deleted == erased,
            found=f"{len(erased)} erased, told of {len(deleted)} that they are deleted, {wrong}",
        )
        kept = [id_ for id_ in erased if not (await self.world.read(id_)).get("erased_at")]
        self.report.check("what was erased is erased again", holds=not kept, found=kept)
        revoked = await self._status("/v1/subjects", {"authorization": f"Bearer {self.before.key}"})
        self.report.check(
            "the key that was revoked is refused", holds=revoked == 401, found=revoked
        )

    async def _check_callers(self) -> None:
        old = await self.world.http.get("/v1/events", params={"after": self.before.cursor})
        body: dict[str, Any] = old.json()
        self.report.check(
            "a cursor from before is answered 410, with where to begin",
            holds=old.status_code == httpx.codes.GONE and bool(body.get("oldest")),
            found=old.status_code,
        )
        newest = {t.data["id"]: t.type for t in self.subscriber.told}
        ends = {"subject.succeeded", "subject.failed", "subject.canceled", *TOLD_OF_ERASED}
        untold = [id_ for id_ in self.callers.ids.values() if newest.get(id_) not in ends]
        self.report.check(
            "the subscriber is told of every end",
            holds=not untold,
            found=f"{len(self.callers.ids)} subjects, {len(untold)} untold",
        )
        ids = [told.webhook_id for told in self.subscriber.told]
        self.report.step(f"deliveries: {len(ids)}, under {len(set(ids))} webhook-ids")

    async def _status(self, path: str, headers: dict[str, str]) -> int:
        async with httpx.AsyncClient(base_url=self.stack.base_url, trust_env=False) as http:
            return (await http.get(path, headers=headers)).status_code
