"""Replays of deliveries: how they are requested, and what is delivered."""

import json
from typing import Any

import httpx

from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.webhook_receiver import WebhookReceiver

ONE_RETRY = [1]  # a schedule of two attempts, a second apart
LONG_AGO = "2020-01-01T00:00:00Z"


async def subject_with_two_events(api: Api, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Create a subject that has two events."""
    subject = await api.create(**changes)
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id=subject["id"])
    await transition(api.resources, subject["id"], update)
    return subject


async def request_replay(
    api: Api, subscriber: dict[str, Any], only: str, **body: object
) -> httpx.Response:
    path = f"/v1/subscribers/{subscriber['id']}/replay"
    return await api.http.post(path, json={"since": LONG_AGO, "only": only, **body})


async def replay_count(api: Api, subscriber: dict[str, Any], only: str, **body: object) -> int:
    """Request a replay; how many deliveries it makes due."""
    answer = await request_replay(api, subscriber, only, **body)
    dry_run = body.get("dry_run", False)
    assert answer.status_code == (200 if dry_run else 202), answer.text
    count: int = answer.json()["count"]
    assert answer.json() == {"count": count, "dry_run": dry_run}
    return count


async def deliver_all(api: Api, clock: Clock) -> None:
    """Deliver until nothing is due, retries included."""
    for _ in range(6):
        await api.work(Work.DELIVER)
        clock.advance(2)


async def delivery_rows(api: Api, subscriber: dict[str, Any]) -> list[dict[str, Any]]:
    """The subscriber's deliveries, those of a subject in sequence."""
    return await fetch(
        api.resources,
        "SELECT * FROM deliveries WHERE subscriber_id = $1 ORDER BY ordering_key, sequence",
        subscriber["id"],
    )


def received_events(subscriber: WebhookReceiver) -> list[tuple[str, int]]:
    """The subject and the sequence of each event received."""
    bodies = [json.loads(body)["data"] for _, body in subscriber.requests]
    return [(event["id"], event["sequence"]) for event in bodies]


async def add_two_events(api: Api, subject_id: str) -> None:
    """Add two more events to the subject."""
    await transition(
        api.resources, subject_id, StatusUpdate(Signal.SUBMITTED, provider_task_id=subject_id)
    )
    await transition(api.resources, subject_id, StatusUpdate(Signal.PROCESSING))


async def resend(api: Api, delivery_id: str) -> httpx.Response:
    return await api.http.post(f"/v1/deliveries/{delivery_id}/resend")
