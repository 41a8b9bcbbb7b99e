"""Whatever became of subscribers, the audit misses what they should have been sent, and no more."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.delivery.store import subscriber_health
from service.operations.domain.audit_checks import RULES, AuditCheck
from service.subjects.domain.event import HealthNotice, subscriber_event
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.subjects.store import events
from service.subjects.store.events import NewEvent
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.replays import replay_count

NOBODY = "http://127.0.0.1:65009/"
STEPS = 40
TYPES = (None, ["subject.queued"], ["subject.submitted", "callsheet.subscriber.failing"])
TAGS = (None, ["o_101"], ["o_102", "o_103"])
KINDS = (None, ["image_refer"], ["video_refer"])


@dataclass
class SubscriberRecord:
    """A subscriber, and the ids of the events that it should get under its present filters."""

    wish: dict[str, Any]
    disabled: bool = False
    events: set[str] = field(default_factory=set)


class History:
    """What happens to the subscribers and subjects of one account, chosen at random."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api = api
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.subscribers: dict[str, SubscriberRecord] = {}
        self.subjects: list[str] = []
        self.called_back: set[str] = set()
        self._recorded_ids: set[str] = set()

    async def goes_on(self) -> None:
        moves: list[Callable[[], Awaitable[None]]] = [self.subscribe, self.create]
        if self.subjects:
            moves += [self.advance] * 2
        if self.subscribers:
            moves += [self.pause, self.change, self.disable, self.come_back]
            moves += [self.remove, self.add_health_event, self.replay, self.create]
        await self.rng.choice(moves)()
        await self._record_events()

    def any(self) -> str:
        return self.rng.choice(sorted(self.subscribers))

    def wish(self) -> dict[str, Any]:
        return {
            "event_types": self.rng.choice(TYPES),
            "tags": self.rng.choice(TAGS),
            "reference_types": self.rng.choice(KINDS),
        }

    async def subscribe(self) -> None:
        wish = self.wish()
        made = await self.api.subscribe(NOBODY, **wish)
        self.subscribers[made["id"]] = SubscriberRecord(wish)

    async def create(self) -> None:
        tag = self.rng.choice(["o_101", "o_102", "o_104"])
        url = self.rng.choice([{}, {"callback_url": NOBODY}])
        subject = await self.api.create(tag_list=[{"tag_id": tag}], **url)
        self.subjects.append(subject["id"])
        if url:
            self.called_back.add(subject["id"])

    async def advance(self) -> None:
        subject = self.rng.choice(self.subjects)
        signal = self.rng.choice([Signal.SUBMITTED, Signal.PROCESSING])
        await transition(
            self.api.resources, subject, StatusUpdate(signal, provider_task_id=subject)
        )

    async def pause(self) -> None:
        id_ = self.any()
        if not self.subscribers[id_].disabled:
            await self.patch(id_, state=self.rng.choice(["paused", "active"]))

    async def come_back(self) -> None:
        id_ = self.any()
        if self.subscribers[id_].disabled:
            await self.patch(id_, state=self.rng.choice(["paused", "active"]))
            self.subscribers[id_] = SubscriberRecord(self.subscribers[id_].wish)

    async def change(self) -> None:
        id_, wish = self.any(), self.wish()
        before = self.subscribers[id_]
        await self.patch(id_, **wish)
        if wish != before.wish:
            self.subscribers[id_] = SubscriberRecord(wish, before.disabled)

    async def disable(self) -> None:
        id_ = self.any()
        async with self.api.resources.database.transaction() as tx:
            now = self.api.resources.clock()
            await subscriber_health.disable(tx, id_, "it failed", now)
        self.subscribers[id_].disabled = True

    async def remove(self) -> None:
        id_ = self.any()
        answer = await self.api.http.delete(f"/v1/subscribers/{id_}")
        assert answer.status_code == 204, answer.text
        del self.subscribers[id_]

    async def replay(self) -> None:
        id_ = self.any()
        if not self.subscribers[id_].disabled:
            await replay_count(self.api, {"id": id_}, "all")

    async def add_health_event(self) -> None:
        """An event about one of them, for the others."""
        id_ = self.any()
        resources, sequence = self.api.resources, len(self._recorded_ids) + 1
        (row,) = await fetch(resources, "SELECT account_id FROM subscribers WHERE id = $1", id_)
        event = subscriber_event(
            row["account_id"], id_, sequence, HealthNotice.FAILING, resources.clock()
        )
        async with resources.database.transaction() as tx:
            await subscriber_health.ensure(tx, [id_])
            await events.append(tx, [NewEvent(event)])

    async def patch(self, id_: str, **fields: object) -> None:
        answer = await self.api.http.patch(f"/v1/subscribers/{id_}", json=fields)
        assert answer.status_code == 200, answer.text

    async def _record_events(self) -> None:
        """Record for each new event which subscribers should get it."""
        sql = "SELECT e.*, b.tags FROM events e LEFT JOIN subjects b ON b.id = e.subject_id"
        for event in await fetch(self.api.resources, sql):
            if event["id"] not in self._recorded_ids:
                self._recorded_ids.add(event["id"])
                for id_, subscriber in self.subscribers.items():
                    if not subscriber.disabled and wants(id_, subscriber.wish, event):
                        subscriber.events.add(event["id"])


def wants(id_: str, wish: dict[str, Any], event: dict[str, Any]) -> bool:
    if wish["event_types"] and event["type"] not in wish["event_types"]:
        return False
    if event["subject_id"] is None:
        return bool(event["about_subscriber_id"] != id_)
    kinds, tags = wish["reference_types"], wish["tags"]
    return (not kinds or "image_refer" in kinds) and (not tags or bool({*tags} & {*event["tags"]}))


@pytest.mark.parametrize("seed", range(6))
async def test_after_any_history_nothing_is_missed_and_all_of_what_is_lost_is(
    api: Api, seed: int
) -> None:
    history = History(api, seed)
    for _ in range(STEPS):
        await history.goes_on()
        assert await api.violations() == []
    expected = {
        (event, id_)
        for id_, subscriber in history.subscribers.items()
        for event in subscriber.events
    }
    sql = "DELETE FROM deliveries RETURNING event_id, subscriber_id"
    lost = {(row["event_id"], row["subscriber_id"]) for row in await fetch(api.resources, sql)}
    assert expected <= lost
    missed = {(violation.rule, violation.about) for violation in await api.violations()}
    wanted = {
        subject for rule, subject in missed if rule == RULES[AuditCheck.DELIVERY_TO_SUBSCRIBER].text
    }
    assert wanted == {f"{event} to {id_}" for event, id_ in expected}
    sql = "SELECT id FROM events WHERE subject_id = ANY ($1) AND sequence > 1"
    called = {row["id"] for row in await fetch(api.resources, sql, sorted(history.called_back))}
    to_urls = {
        subject
        for rule, subject in missed
        if rule == RULES[AuditCheck.DELIVERY_TO_CALLBACK_URL].text
    }
    assert {subject.partition(" ")[0] for subject in to_urls} == called


async def test_what_a_paused_subscriber_lost_is_missed(api: Api) -> None:
    made = await api.subscribe(NOBODY)
    answer = await api.http.patch(f"/v1/subscribers/{made['id']}", json={"state": "paused"})
    assert answer.status_code == 200
    for number in range(4):
        await api.create(name=f"{number}")
    assert await api.violations() == []
    await fetch(api.resources, "DELETE FROM deliveries")
    assert [violation.rule for violation in await api.violations()] == [
        RULES[AuditCheck.DELIVERY_TO_SUBSCRIBER].text
    ] * 4


async def test_what_happens_while_subscribers_come_change_and_go_is_no_violation(
    api: Api,
) -> None:
    async def come_and_go(number: int) -> None:
        made = await api.subscribe(NOBODY)
        path = f"/v1/subscribers/{made['id']}"
        for types in TYPES:
            await api.http.patch(path, json={"event_types": types})
            async with api.resources.database.transaction() as tx:
                now = api.resources.clock()
                await subscriber_health.disable(tx, made["id"], "it failed", now)
            await api.http.patch(path, json={"state": "active"})
        if number % 2:
            await api.http.delete(path)

    async def audit() -> None:
        for _ in range(10):
            assert await api.violations() == []

    await asyncio.gather(
        audit(),
        *(come_and_go(number) for number in range(4)),
        *(api.create(name=f"{number}") for number in range(40)),
    )
    assert await api.violations() == []
