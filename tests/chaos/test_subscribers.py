"""Subscribers that hang, reset, refuse, vanish and ramble, while workers are killed and stopped and
Postgres is cut off: each event still reaches each of them, in its turn."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import chain, cycle, repeat, takewhile
from time import monotonic

import pytest
from redis.asyncio import Redis

from service.local.processes import Child
from service.local.stack import Stack
from tests.chaos import subscribers as sub
from tests.chaos.subscribers import Behavior, Subscriber, too_early
from tests.chaos.world import (
    LEASE,
    SERVICE_TIMEOUT,
    RunningService,
    durable_stack_with_short_leases,
    until,
)
from tests.support.request_bodies import request_body

SEED = 20261124
CALLERS = 4  # who create subjects, as long as the storm lasts
PAUSE = 0.6  # seconds between two of one caller's, on average
LEAST = 100  # subjects that they make
FAILS = "fails"  # the name of those of which nothing becomes
BETWEEN = 40  # events that a healthy subscriber takes between two faults
SENT_LEAST = 3  # attempts that are under way when a worker is stopped
TIMEOUT = 1.0
LONG = 2 * SERVICE_TIMEOUT  # seconds; what a worker holds that is killed last is free after a lease
SETTINGS = {
    "provider_parallel": "1000",
    "delivery_timeout": str(TIMEOUT),
    "delivery_schedule": ",".join(["0.3"] * 200),
    "delivery_concurrency": "32",
}
PHASES = (
    *[sub.ACCEPT] * 20,
    *[sub.FAIL] * 7,
    *[sub.ACCEPT] * 20,
    *[sub.TOO_MANY] * 4,
    *[sub.ACCEPT] * 20,
    *[sub.UNAVAILABLE] * 4,
)
HELD = """
    SELECT subscriber_id, event_id, lease_token FROM deliveries
    WHERE lease_token <> '' AND due_at > now()
"""
EVENTS = "SELECT id, body FROM events"
WAITING = """
    SELECT subscriber_id, event_id, attempts, due_at, lease_token FROM deliveries
    WHERE state = 'pending' ORDER BY id LIMIT 20
"""
UNFINISHED = "SELECT FROM subjects WHERE finished_at IS NULL LIMIT 1"

Held = tuple[str, str, str]  # a subscriber, an event, and the token of the claim


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with durable_stack_with_short_leases(
        tmp_path_factory.mktemp("subscribers"), **SETTINGS
    ) as started:
        yield started


def sometimes(rng: random.Random, share: float, *behaviors: Behavior) -> Iterator[Behavior]:
    """One of these, with probability `share`; otherwise it accepts."""
    while True:
        yield rng.choice(behaviors) if rng.random() < share else sub.ACCEPT


def make_subscribers(rng: random.Random) -> dict[str, Subscriber]:
    """The subscribers by name."""
    well = repeat(sub.ACCEPT)
    gone = chain(repeat(sub.ACCEPT, 60), repeat(sub.GONE))
    rambling = (sub.ACCEPT_LATE, sub.TRICKLE_HEAD, sub.TRICKLE_BODY, sub.ENDLESS, sub.ELSEWHERE)
    made = [
        Subscriber("healthy", well),
        Subscriber("slow, v1a too", repeat(sub.ACCEPT_LATE), signatures=["v1", "v1a"]),
        Subscriber("hanging", sometimes(rng, 0.03, sub.HANG)),
        Subscriber("resetting", sometimes(rng, 0.2, sub.RESET, sub.BREAK_OFF)),
        Subscriber("in phases", cycle(PHASES)),
        Subscriber("down", well),
        Subscriber("gone", gone),
        Subscriber("rambling", sometimes(rng, 0.04, *rambling)),
        Subscriber("without order", sometimes(rng, 0.2, sub.FAIL), order="none"),
        Subscriber("two at once", sometimes(rng, 0.05, sub.FAIL), concurrency=2),
        Subscriber("at a rate", sometimes(rng, 0.05, sub.FAIL), rate=60),
    ]
    return {subscriber.name: subscriber for subscriber in made}


@asynccontextmanager
async def subscribed(
    world: RunningService, subscribers: Mapping[str, Subscriber]
) -> AsyncIterator[None]:
    try:
        for subscriber in subscribers.values():
            await subscriber.open()
            fields = {"url": subscriber.url, "description": subscriber.name, **subscriber.fields}
            answer = await world.http.post("/v1/subscribers", json=fields)
            assert answer.status_code == 201, answer.text
            subscriber.id, subscriber.secret = answer.json()["id"], answer.json()["secret"]
        yield
    finally:
        for subscriber in subscribers.values():
            await subscriber.close()


class Storm:
    """Faults of the service and of `down`, and the subjects that are created meanwhile."""

    def __init__(
        self, world: RunningService, subscribers: Mapping[str, Subscriber], rng: random.Random
    ) -> None:
        self._world, self._subscribers, self._rng = world, subscribers, rng
        self._over = False
        self.made: list[str] = []
        self.gone_at = float("inf")
        self.held: set[Held] = set()  # by the worker that is stopped and goes on

    async def run(self) -> None:
        """Cause all faults, each in the middle of deliveries; then let every subscriber accept."""
        stack = self._world.stack
        first, second = stack.child("worker"), stack.add("worker-2", "worker")
        down = self._subscribers["down"]
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._create(number))
            group.create_task(self._wait_until_gone_is_disabled())
            await self._wait_for_more_events()
            held = self.held = await self._stopped(first)
            second.start()
            await down.close()
            await self._wait_for_more_events()
            await asyncio.to_thread(second.restart)
            await self._wait_for_more_events()
            async with Redis.from_url(stack.env["CALLSHEET_REDIS_URL"]) as redis:
                await redis.flushall()
            await asyncio.to_thread(stack.child("postgres").restart)
            await down.open()
            await self._wait_for_more_events()
            await asyncio.to_thread(second.restart)
            await until(lambda: self._are_free(held))
            await self._wait_for_more_events()
            first.send(signal.SIGCONT)
            await self._wait_for_more_events()
            await asyncio.to_thread(stack.child("postgres").restart)
            await self._wait_for_more_events()
            await asyncio.to_thread(first.restart)
            self._over = True
        for subscriber in self._subscribers.values():
            subscriber.calm = True

    async def _create(self, number: int) -> None:
        body = request_body()
        while len(self.made) < LEAST or not self._over:
            name = FAILS if self._rng.random() < 0.2 else "Ada"
            key = f"{number}-{len(self.made)}"
            self.made.append(
                await self._world.create_until_accepted(body | {"element_name": name}, key)
            )
            await asyncio.sleep(self._rng.uniform(0, 2 * PAUSE))

    async def _wait_for_more_events(self) -> None:
        """Wait until so many more events have been taken, and a moment. Of what workers held that
        were killed or stopped, nothing is taken before their leases are over."""
        healthy = self._subscribers["healthy"]
        least = len(healthy.arrivals) + BETWEEN

        async def is_enough() -> bool:
            return len(healthy.arrivals) >= least

        await until(is_enough, LONG)
        await asyncio.sleep(self._rng.uniform(0, 0.5))

    async def _stopped(self, worker: Child) -> set[Held]:
        """Stopped, with several requests sent and not recorded: all that it holds then. No other
        worker runs yet."""
        while True:
            worker.send(signal.SIGSTOP)
            held = await self._held()
            came = {
                (subscriber.id, arrival.event_id)
                for subscriber in self._subscribers.values()
                for arrival in subscriber.arrivals
            }
            if sum(row[:2] in came for row in held) >= SENT_LEAST:
                return held
            worker.send(signal.SIGCONT)
            await asyncio.sleep(self._rng.uniform(0, 0.05))

    async def _held(self) -> set[Held]:
        return {
            (row["subscriber_id"], row["event_id"], row["lease_token"])
            for row in await self._world.fetch(HELD)
        }

    async def _are_free(self, held: set[Held]) -> bool:
        """Whether all of these leases are over: what a stopped worker held, others may take up."""
        return not held & await self._held()

    async def _wait_until_gone_is_disabled(self) -> None:
        """Wait until `gone` is disabled; from then on it would accept whatever still came."""
        gone = self._subscribers["gone"]

        async def has_answered_gone() -> bool:
            return any(not arrival.accepted for arrival in gone.arrivals)

        async def is_disabled() -> bool:
            answer = await self._world.http.get(f"/v1/subscribers/{gone.id}")
            return answer.is_success and bool(answer.json()["state"] == "disabled")

        await until(has_answered_gone)
        await until(is_disabled)
        self.gone_at, gone.calm = monotonic(), True


def events_not_accepted(subscriber: Subscriber, events: Mapping[str, bytes]) -> set[str]:
    """Ids of events that it has not accepted, or not with the bytes that were written."""
    return events.keys() - {
        arrival.event_id
        for arrival in subscriber.accepted
        if arrival.body == events[arrival.event_id]
    }


def repeated(subscriber: Subscriber) -> int:
    """How often it accepted what it had accepted before."""
    return len(subscriber.accepted) - len({arrival.event_id for arrival in subscriber.accepted})


async def wait_for_all_events(world: RunningService) -> dict[str, bytes]:
    """The events of all subjects, once these have ended and no delivery waits."""

    async def have_ended() -> bool:
        return not await world.fetch(UNFINISHED)

    await until(have_ended)
    with suppress(AssertionError):
        await until(world.no_delivery_pending, LONG)
    assert await world.fetch(WAITING) == []
    return {row["id"]: row["body"] for row in await world.fetch(EVENTS)}


def report(subscribers: Mapping[str, Subscriber], events: int) -> str:
    lines = [
        f"{name:16}{len(subscriber.arrivals):6} attempts came,"
        f"{len(subscriber.accepted):6} accepted, "
        f"{repeated(subscriber):4} of them again"
        for name, subscriber in subscribers.items()
    ]
    return "\n".join([f"\n{events} events", *lines, ""])


@pytest.mark.timeout(200)
async def test_bad_subscribers_and_falling_processes_lose_nothing_and_change_no_order(
    running: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - the same storm every time
    subscribers = make_subscribers(rng)
    async with RunningService.open(running) as world, subscribed(world, subscribers):
        await world.change_simulator_settings(processing_after=0.3, finished_after=0.8)
        await world.add_fault(element_name=FAILS, times=None, fail="the face is not to be seen")
        storm = Storm(world, subscribers, rng)
        await storm.run()
        events = await wait_for_all_events(world)
        with capsys.disabled():
            sys.stdout.write(report(subscribers, len(events)))

        live = [subscriber for name, subscriber in subscribers.items() if name != "gone"]
        assert {
            subscriber.name: missed
            for subscriber in live
            if (missed := events_not_accepted(subscriber, events))
        } == {}
        ordered = [subscriber for subscriber in live if subscriber.name != "without order"]
        assert {
            subscriber.name: early
            for subscriber in ordered
            if (early := too_early(subscriber.arrivals))
        } == {}
        came = [arrival for subscriber in subscribers.values() for arrival in subscriber.arrivals]
        assert {(arrival.path, arrival.genuine) for arrival in came} == {("/hook", True)}
        gone = subscribers["gone"].arrivals
        assert too_early(takewhile(lambda arrival: arrival.accepted, gone)) == []
        # What a worker was sending when it was stopped, it goes on sending: once each.
        held = {event for id_, event, _ in storm.held if id_ == subscribers["gone"].id}
        late = [arrival for arrival in gone if arrival.at > storm.gone_at + LEASE + TIMEOUT]
        ids = [arrival.event_id for arrival in late]
        assert set(ids) <= held
        assert len(ids) == len(set(ids))
        assert world.violations() == "0 violations"
        assert world.faults_logged() == []
    assert [child.command.name for child in running.supervisor.ended()] == []
