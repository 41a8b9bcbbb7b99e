"""One request the whole way: queued, submitted, called back, delivered; and what may go wrong."""

import json

import pytest
from standardwebhooks import Webhook

from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver


async def fault(provider: SimulatorClient, **rule: object) -> None:
    answer = await provider.admin("faults", rule)
    assert answer.status_code < 300, answer.text


async def test_a_subject_goes_the_whole_way_and_a_subscriber_hears_of_each_step(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.subscribe(subscriber.url)
    subject = await api.create()
    assert (subject["state"], subject["version"]) == ("queued", 1)
    await api.work(Work.SUBMIT)
    ended = await api.wait_until_finished(subject["id"])
    assert ended["state"] == "succeeded"
    assert ended["subject"]["element_id"].isdigit()
    types = await api.event_types(subject["id"])
    assert types[0] == "queued"
    assert types[-1] == "succeeded"
    for _ in types:
        await api.work(Work.DELIVER)
    await wait_until(lambda: len(subscriber.requests) == len(types))
    for sequence, (headers, body) in enumerate(subscriber.requests, 1):
        event = Webhook(made["secret"]).verify(body, headers)
        assert event["data"]["sequence"] == sequence
        assert event["data"]["id"] == subject["id"]
    assert await api.violations() == []


async def test_the_event_in_the_feed_is_the_one_delivered(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    subject = await api.create()
    await api.work(Work.DELIVER)
    ((headers, body),) = subscriber.requests
    page = (await api.http.get("/v1/events")).json()
    (event,) = page["data"]
    assert event == {"id": headers["webhook-id"]} | json.loads(body)
    after = (await api.http.get("/v1/events", params={"after": page["next_cursor"]})).json()
    assert after == {"data": [], "next_cursor": page["next_cursor"]}
    assert event["data"]["id"] == subject["id"]


async def test_a_refused_subject_fails_with_the_providers_words(
    api: Api, provider: SimulatorClient
) -> None:
    await fault(provider, element_name="Ada", code=1301)
    subject = await api.create()
    await api.work(Work.SUBMIT)
    ended = await api.read(subject["id"])
    assert ended["state"] == "failed"
    assert ended["error"]["code"] == "provider_refused"
    assert ended["error"]["provider_code"] == 1301
    assert await api.event_types(subject["id"]) == ["queued", "failed"]


async def test_a_lost_answer_is_looked_up_and_nothing_is_sent_twice(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await fault(provider, answer="drop", accept=True, lose=True)
    subject = await api.create()
    await api.work(Work.SUBMIT)
    assert (await api.read(subject["id"]))["state"] == "unconfirmed"
    await provider.wait_until_finished(subject["id"])
    clock.advance(2)
    await api.work()
    assert (await api.read(subject["id"]))["state"] == "succeeded"
    ledger = await provider.ledger(subject["id"])
    assert [create["outcome"] for create in ledger["creates"]] == ["accepted"]


@pytest.mark.parametrize("code", [1302, 1303, 5001])
async def test_a_subject_told_to_wait_waits_in_the_queue_and_is_sent_again(
    api: Api, provider: SimulatorClient, clock: Clock, code: int
) -> None:
    await fault(provider, code=code)
    subject = await api.create()
    await api.work(Work.SUBMIT)
    assert (await api.read(subject["id"]))["state"] == "queued"
    await api.work(Work.SUBMIT)
    assert (await api.read(subject["id"]))["state"] == "queued", "it is not due yet"
    clock.advance(61)
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"
