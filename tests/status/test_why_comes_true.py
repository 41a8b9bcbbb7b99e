"""What is said to wait until a time at the latest has moved on by then: its reason is another, or
it is finished. The clock is set to such times, and real workers do what is due."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import pytest

from service.delivery.steps import health_events
from service.delivery.steps import why as delivery_why
from service.delivery.steps.deliver import Deliverer
from service.delivery.store import delivery_log
from service.resources import Resources
from service.status.cache.conditions import ConditionsCache
from service.status.steps import read
from service.status.steps import why as subject_why
from service.subjects.domain.why import Why, WhyCode
from service.subjects.domain.work import Work
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import CLOSED_PORT, ScriptedSubscriber, scripted_subscriber
from tests.support.media_host import MediaHost, media_host
from tests.support.simulator import SimulatorClient
from tests.support.why import worker_listening
from tests.support.why_rules import check_why

STEPS: Final = 30
DEADLINE: Final = 150  # seconds
MOMENT: Final = timedelta(milliseconds=1)
MANY: Final = 9  # codes that are given at least, as different as the troubles are
NEVER_ENDS: Final = {"lose": True, "processing_after": 600, "finished_after": 600, "times": 2}
FAULTS: Final[list[dict[str, Any]]] = [
    {"code": 1303},  # as many as the provider takes at once
    {"code": 5001},  # later
    {"code": 1102},  # stopped
    {"answer": "drop"} | NEVER_ENDS,  # taken, and the answer lost
    {"answer": "drop", "accept": False},  # not taken, and the answer lost
    NEVER_ENDS,
    NEVER_ENDS,
]
HOLD = """
    INSERT INTO holds (id, what, reason, until, created_at)
    VALUES ('hld_' || $1, $1, 'repair', $2::timestamptz + interval '7 s', $2)
    ON CONFLICT DO NOTHING
"""


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {
        "CALLSHEET_PROVIDER_PARALLEL": "3",
        "CALLSHEET_TASK_DEADLINE": str(DEADLINE),
        "CALLSHEET_DELIVERY_SCHEDULE": "1,2,3,5,5,5,5,5,8,8,13,13",
    }


@dataclass
class World:
    """A service in trouble of every kind, drawn anew before each step."""

    api: Api
    provider: SimulatorClient
    clock: Clock
    media: MediaHost
    target: ScriptedSubscriber
    rng: random.Random
    codes: set[WhyCode] = field(default_factory=set)  # that were given

    @property
    def resources(self) -> Resources:
        """With no memory of the conditions of a moment ago."""
        resources = self.api.resources
        conditions = ConditionsCache(resources.settings, resources.home)
        return replace(resources, conditions=conditions)

    async def populate(self) -> None:
        await self.api.subscribe(self.target.url)
        await self.api.subscribe(self.target.url, rate=0.5)
        await self.api.subscribe(self.target.url, concurrency=1, order="none")
        await self.api.subscribe(CLOSED_PORT)
        self.media.files["away"] = 503
        media = [{}, {}, self.media.images("front", "side"), self.media.images("away", "side")]
        for number in range(6):
            await self.api.create(name=f"{number}", **media[number % 4])

    async def trouble(self) -> None:
        """Perhaps something happens."""
        await self.provider.admin("faults", self.rng.choice(FAULTS))
        self.target.answer_with(self.rng.choice([200, 500, 429]))
        happenings = [self.die_submitting, self.die_delivering, self.hold, self.pause]
        if self.rng.random() < 1 / 2:
            await self.rng.choice(happenings)()

    async def die_submitting(self) -> None:
        await submit.claim(self.api.resources, 1)

    async def die_delivering(self) -> None:
        await Deliverer(self.api.resources).claim(2)

    async def hold(self) -> None:
        what = self.rng.choice(["submissions", "deliveries"])
        await fetch(self.api.resources, "DELETE FROM holds WHERE until <= $1", self.clock())
        await fetch(self.api.resources, HOLD, what, self.clock())

    async def pause(self) -> None:
        rows = await fetch(self.api.resources, "SELECT id, state FROM subscribers ORDER BY id")
        found = self.rng.choice(rows)
        state = "active" if found["state"] != "active" else "paused"
        await self.api.http.patch(f"/v1/subscribers/{found['id']}", json={"state": state})

    async def work(self) -> None:
        await self.api.work()
        for _ in range(3):  # a worker goes on as long as it finds something
            await self.api.work(Work.DELIVER)
        await health_events.sweep(self.api.resources)

    async def reasons(self) -> dict[str, Why]:
        """Why each waits that does, by its id; what is not finished and has no reason fails."""
        found = {
            **await self._of_subjects(),
            **await self._of_deliveries(),
            **await self._of_subscribers(),
        }
        for why in found.values():
            check_why(why, self.clock())
        self.codes |= {why.code for why in found.values()}
        return found

    async def _of_subjects(self) -> dict[str, Why]:
        rows = await fetch(
            self.resources, "SELECT account_id, id FROM subjects WHERE finished_at IS NULL"
        )
        resources = self.resources
        subjects = await read.get_subjects(
            resources, [(row["account_id"], row["id"]) for row in rows]
        )
        reasons = {}
        for subject in subjects:
            assert subject is not None
            (position,) = await read.queue_positions(resources, [subject])
            why = await subject_why.why(resources, subject, position)
            assert why is not None
            reasons[subject.id] = why
        return reasons

    async def _of_deliveries(self) -> dict[str, Why]:
        resources = self.resources
        rows = await fetch(
            resources,
            """SELECT s.account_id, d.id FROM deliveries d JOIN subscribers s
                ON s.id = d.subscriber_id WHERE d.state = 'pending'""",
        )
        reasons = {}
        for row in rows:
            async with resources.database.autocommit() as tx:
                delivery = await delivery_log.get(tx, row["account_id"], row["id"])
            assert delivery is not None
            why = await delivery_why.of_delivery(resources, delivery)
            assert why is not None
            reasons[delivery.id] = why
        return reasons

    async def _of_subscribers(self) -> dict[str, Why]:
        resources = self.resources
        rows = await fetch(resources, "SELECT id FROM subscribers")
        found = await delivery_why.of_subscribers(resources, [row["id"] for row in rows])
        return {id_: why for id_, why in found.items() if why is not None}


def moved_on(before: Why, then: Why | None, after: Why | None) -> bool:
    """Whether a wait is another, or over: `then` is how it was at the time that was told, before
    any work, and `after` how it is behind it. An `until` that just moves on with the clock is no
    other wait. An earlier event that is due may itself wait for its subscriber."""
    if after is None or (after.code, after.since) != (before.code, before.since):
        return True
    return after != then or before.code is WhyCode.EARLIER_EVENT_FIRST


@pytest.fixture
async def world(api: Api, provider: SimulatorClient, clock: Clock) -> AsyncIterator[World]:
    async with (
        worker_listening(api.resources),
        media_host() as media,
        scripted_subscriber(200) as target,
    ):
        rng = random.Random(7)  # noqa: S311 - the same trouble every time
        yield World(api, provider, clock, media, target, rng)


@pytest.mark.timeout(300)
async def test_until_comes_true(world: World) -> None:
    await world.populate()
    for _ in range(STEPS):
        await world.trouble()
        before = await world.reasons()
        ends = sorted(why.until for why in before.values() if why.until is not None)
        # One of the next, and a little more, as what lasts until then may last that long.
        world.clock.now = world.rng.choice(ends[: 1 + len(ends) // 3]) + MOMENT
        then = await world.reasons()
        await world.work()
        after = await world.reasons()
        for id_, why in before.items():
            if why.until is not None and why.until < world.clock.now:
                assert moved_on(why, then.get(id_), after.get(id_)), (why, after[id_])
    assert len(world.codes) >= MANY
