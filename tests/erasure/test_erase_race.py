"""Whatever happens while a subject is erased, nothing that it held is left, and the order holds."""

import asyncio
import json
from datetime import timedelta

from structlog.typing import EventDict

from service.delivery.steps.deliver import Deliverer
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from tests.delivery.test_deliver_race import gate
from tests.support.api import Api
from tests.support.callbacks import legacy_callback
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.erasures import all_rows, erase, erased, succeeded_subject
from tests.support.ingestion import post_callback
from tests.support.subjects import subject_in_state
from tests.support.webhook_receiver import WebhookReceiver

SECRET = "only in this message"


def types(subscriber: WebhookReceiver) -> list[str]:
    return [json.loads(body)["type"].removeprefix("subject.") for _, body in subscriber.requests]


async def test_an_attempt_under_way_is_not_recorded_and_the_erasure_is_told_after_it(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    subscriber.answer = SECRET.encode()
    await api.subscribe(subscriber.url)
    subject_id = await succeeded_subject(api)
    deliverer = Deliverer(api.resources)
    (claimed,) = await deliverer.claim(10)
    await erased(api, subject_id)
    await api.work(Work.DELIVER)
    assert types(subscriber) == []
    assert not await deliverer.deliver(claimed)
    assert types(subscriber) == ["queued"]
    await api.work(Work.DELIVER)
    assert types(subscriber) == ["queued"]
    clock.now = claimed.lease.until + timedelta(seconds=1)
    await api.work(Work.DELIVER)
    assert types(subscriber) == ["queued", "deleted"]
    attempts = await fetch(api.resources, "SELECT delivery_id FROM attempts")
    assert [row["delivery_id"].split("_")[2] for row in attempts] == ["4"]
    assert await api.violations() == []


async def test_an_attempt_that_is_just_being_recorded_loses_its_answer(
    api: Api, subscriber: WebhookReceiver
) -> None:
    subscriber.answer = SECRET.encode()
    subscriber.answers += [500]
    await api.subscribe(subscriber.url)
    subject_id = await subject_in_state(api, State.CANCELED)
    async with gate(api.resources, "INSERT ON attempts"):
        delivering = asyncio.create_task(api.work(Work.DELIVER))
        await wait_until_blocked(api.resources)
        erasing = asyncio.create_task(erased(api, subject_id))
        await wait_until_blocked(api.resources, 2)
    await asyncio.gather(delivering, erasing)
    assert SECRET not in await all_rows(api.resources)
    await api.work(Work.DELIVER)
    assert types(subscriber)[-1] == "deleted"
    assert await api.violations() == []


async def test_a_callback_that_comes_while_its_subject_is_erased_brings_nothing_back(
    api: Api,
) -> None:
    subject_id = await succeeded_subject(api)
    late = legacy_callback(subject_id, "processing", task_status_msg=SECRET)
    async with gate(api.resources, "UPDATE ON events"):
        erasing = asyncio.create_task(erased(api, subject_id))
        await wait_until_blocked(api.resources)
        coming = asyncio.create_task(post_callback(api, subject_id, late, "msg_late"))
        await wait_until_blocked(api.resources, 2)
    await asyncio.gather(erasing, coming)
    assert SECRET not in await all_rows(api.resources)


async def test_a_callback_that_is_just_being_stored_is_wiped_too(api: Api) -> None:
    subject_id = await succeeded_subject(api)
    late = legacy_callback(subject_id, "processing", task_status_msg=SECRET)
    async with gate(api.resources, "INSERT ON callbacks"):
        coming = asyncio.create_task(post_callback(api, subject_id, late, "msg_late"))
        await wait_until_blocked(api.resources)
        erasing = asyncio.create_task(erased(api, subject_id))
        await wait_until_blocked(api.resources, 2)
    await asyncio.gather(erasing, coming)
    assert SECRET not in await all_rows(api.resources)
    rows = await fetch(api.resources, "SELECT verdict FROM callbacks ORDER BY verdict")
    assert [row["verdict"] for row in rows] == ["applied", "late"]


async def test_of_two_erasures_at_once_one_is_made(api: Api, logged: list[EventDict]) -> None:
    subject_id = await succeeded_subject(api)
    async with gate(api.resources, "UPDATE ON events"):
        first = asyncio.create_task(erase(api, subject_id))
        await wait_until_blocked(api.resources)
        second = asyncio.create_task(erase(api, subject_id))
        await wait_until_blocked(api.resources, 2)
    one, other = await asyncio.gather(first, second)
    assert (one.status_code, other.status_code) == (200, 200)
    assert one.json() == other.json()
    assert [line["action"] for line in logged].count("subject_erased") == 1
    assert await api.violations() == []
