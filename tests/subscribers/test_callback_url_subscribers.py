"""A request's own callback_url is sent what the provider would send it."""

import asyncio
import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.delivery.remote.outcomes import Failed
from service.kit.errors import Invalid
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.subscribers.steps.callback_url_subscribers import origin_of
from tests.support.api import Api
from tests.support.callbacks import accept_request
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.request_bodies import request_body
from tests.support.simulator import PATH, SimulatorClient
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver

REFUSED = (
    ("http://10.0.0.1/hook", "url_address"),
    ("https://169.254.169.254/latest", "url_address"),
    ("https://[::ffff:10.0.0.1]/hook", "url_address"),
    ("ftp://127.0.0.1/hook", "url_scheme"),
    ("https://user:pass@example.com/", "url_userinfo"),
    ("http://127.0.0.1:0/hook", "url_port"),
)
OWN = {"task_id", "task_info", "created_at", "updated_at"}  # these are of our subject


async def hidden_subscribers(api: Api) -> list[dict[str, Any]]:
    """What stands for callback_urls."""
    return await fetch(api.resources, "SELECT * FROM subscribers WHERE type = 'callback'")


def words(subscriber: WebhookReceiver) -> list[str]:
    """The statuses that came, in their order."""
    return [json.loads(body)["task_status"] for _, body in subscriber.requests]


async def wait_for_callbacks(api: Api, subscriber: WebhookReceiver, count: int) -> None:
    """Deliver until so many have come."""

    async def enough() -> bool:
        await api.work(Work.DELIVER)
        return len(subscriber.requests) >= count

    await wait_until(enough)


async def test_a_callback_url_is_sent_what_the_provider_would_send_in_order(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    made = await api.create(callback_url=subscriber.url, external_task_id="mine")
    assert "warnings" not in made
    await api.work()
    subject = await api.wait_until_finished(made["id"])
    await wait_for_callbacks(api, subscriber, len(await api.event_types(made["id"])) - 1)
    assert words(subscriber)[0] in {"submitted", "processing"}
    assert words(subscriber)[-1] == "succeed"
    answer = await provider.http.get(f"{PATH}/{subject['provider_task_id']}")
    provider_task = answer.json()["data"]
    callback_body = json.loads(subscriber.requests[-1][1])
    assert set(callback_body) == set(provider_task)
    different = {name for name in provider_task if callback_body[name] != provider_task[name]}
    assert different <= OWN | {"task_result"}
    assert (callback_body["task_id"], callback_body["task_info"]) == (
        made["id"],
        {"external_task_id": "mine"},
    )
    (element,), (provider_element,) = (
        task["task_result"]["elements"] for task in (callback_body, provider_task)
    )
    assert element == provider_element
    assert element["element_image_list"]["frontal_image"].startswith("https://")
    assert element["element_video_list"] is None
    assert [event["sequence"] for event in await sent_in_order(api)] == list(
        range(2, len(subscriber.requests) + 2)
    )
    assert await api.violations() == []


async def sent_in_order(api: Api) -> list[dict[str, Any]]:
    return await fetch(
        api.resources,
        "SELECT d.sequence FROM deliveries d JOIN attempts a ON a.delivery_id = d.id"
        " ORDER BY a.started_at",
    )


async def test_a_failure_has_the_providers_message(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    await provider.admin("faults", {"fail": "no face was found"})
    made = await api.create(callback_url=subscriber.url)
    await api.work()
    await api.wait_until_finished(made["id"])
    await wait_for_callbacks(api, subscriber, len(await api.event_types(made["id"])) - 1)
    callback_body = json.loads(subscriber.requests[-1][1])
    assert (callback_body["task_status"], callback_body["task_status_msg"]) == (
        "failed",
        "no face was found",
    )


async def test_what_a_callback_url_is_sent_is_signed_with_its_accounts_secret(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.create(callback_url=subscriber.url)
    await api.http.post(f"/v1/subjects/{made['id']}/cancel")
    await wait_for_callbacks(api, subscriber, 1)
    secret = (await api.http.get("/v1/account/callback-secret")).json()["secret"]
    ((headers, body),) = subscriber.requests
    Webhook(secret).verify(body, headers)
    (row,) = await fetch(api.resources, "SELECT id, event_id FROM deliveries")
    assert (headers["webhook-id"], headers["callsheet-attempt"]) == (
        row["event_id"],
        f"{row['id']}.1",
    )
    assert json.loads(body)["task_status_msg"] == "canceled"


async def test_urls_of_one_origin_share_a_subscriber_and_accounts_never_do(
    api: Api, subscriber: WebhookReceiver
) -> None:
    for path in ("/one", "/two?for=a#b"):
        await api.create(callback_url=subscriber.url + path)
    (hidden,) = await hidden_subscribers(api)
    assert hidden["url"] == "callback:" + subscriber.url.removeprefix("http:").removesuffix(
        "/callback"
    )
    assert (hidden["event_types"], hidden["state"]) == ([], "active")
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    headers = {"authorization": f"Bearer {key}"}
    answer = await api.http.post(
        "/v1/subjects", json=request_body(callback_url=subscriber.url), headers=headers
    )
    assert answer.status_code == 202
    assert len({hidden["account_id"] for hidden in await hidden_subscribers(api)}) == 2
    named = await fetch(
        api.resources,
        "SELECT b.account_id, s.account_id AS of FROM subjects b JOIN subscribers s"
        " ON s.id = b.callback_subscriber_id",
    )
    assert len(named) == 3
    assert all(row["account_id"] == row["of"] for row in named)


async def test_concurrent_first_uses_create_one_subscriber(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await asyncio.gather(*(api.create(callback_url=subscriber.url) for _ in range(8)))
    (hidden,) = await hidden_subscribers(api)
    subjects = await fetch(api.resources, "SELECT callback_subscriber_id FROM subjects")
    assert [subject["callback_subscriber_id"] for subject in subjects] == [hidden["id"]] * 8
    for subject in made:
        await api.http.post(f"/v1/subjects/{subject['id']}/cancel")
    await wait_for_callbacks(api, subscriber, 8)
    assert {json.loads(body)["task_id"] for _, body in subscriber.requests} == {
        subject["id"] for subject in made
    }


async def test_each_url_is_called_at_its_own_path(api: Api, subscriber: WebhookReceiver) -> None:
    paths = ["/a", "/b?c=d"]
    for path in paths:
        made = await api.create(callback_url=subscriber.url + path)
        await api.http.post(f"/v1/subjects/{made['id']}/cancel")
    urls = await fetch(api.resources, "SELECT url FROM deliveries ORDER BY created_at, id")
    assert {row["url"] for row in urls} == {subscriber.url + path for path in paths}
    await wait_for_callbacks(api, subscriber, 2)


async def test_a_hidden_subscriber_is_sent_nothing_else_and_is_not_shown(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.create(callback_url=subscriber.url)
    other = await api.create()
    for subject in (made, other):
        await api.http.post(f"/v1/subjects/{subject['id']}/cancel")
    (hidden,) = await hidden_subscribers(api)
    rows = await fetch(api.resources, "SELECT ordering_key, sequence FROM deliveries")
    assert rows == [{"ordering_key": made["id"], "sequence": 2}], "nor of what is merely queued"
    path = f"/v1/subscribers/{hidden['id']}"
    assert (await api.http.get("/v1/subscribers")).json()["data"] == []
    replay = {"since": made["created_at"], "only": "all"}
    answers = [
        await api.http.get(path),
        await api.http.get(f"{path}/deliveries"),
        await api.http.post(f"{path}/replay", json=replay),
    ]
    assert [answer.status_code for answer in answers] == [404] * 3


async def test_a_delivery_to_a_callback_url_is_shown_and_can_be_sent_again(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    made = await api.create(callback_url=subscriber.url)
    await api.http.post(f"/v1/subjects/{made['id']}/cancel")
    subscriber.answers.append(410)
    await wait_for_callbacks(api, subscriber, 1)
    (row,) = await fetch(api.resources, "SELECT id FROM deliveries")
    path = f"/v1/deliveries/{row['id']}"
    assert (await api.http.get(path)).json()["state"] == "dead"
    clock.advance(1)
    assert (await api.http.post(f"{path}/resend")).status_code == 202
    await wait_for_callbacks(api, subscriber, 2)
    assert (await api.http.get(path)).json()["state"] == "delivered"
    assert [hidden["state"] for hidden in await hidden_subscribers(api)] == ["active"]


async def test_a_hidden_subscriber_has_no_url_that_can_be_sent_to(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.create(callback_url=subscriber.url)
    (hidden,) = await hidden_subscribers(api)
    attempt = await api.resources.webhook_sender.post(hidden["url"], {}, b"", 5)
    assert isinstance(attempt, Failed)
    assert attempt.reason == "request"
    assert api.resources.encryptor.decrypt(hidden["secret"], hidden["id"])


@pytest.mark.parametrize(("url", "code"), REFUSED)
async def test_a_url_that_must_not_be_called_is_refused(api: Api, url: str, code: str) -> None:
    answer = await api.http.post("/v1/subjects", json=request_body(callback_url=url))
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("/callback_url", code)
    ]
    assert await hidden_subscribers(api) == []


async def test_a_callback_url_may_be_plain_http_as_at_the_provider(api: Api) -> None:
    await api.create(callback_url="http://outside.example/hook")
    assert len(await hidden_subscribers(api)) == 1


async def test_a_repeated_request_creates_no_subscriber(api: Api, account: str) -> None:
    await api.create(external_task_id="mine")
    body = request_body(external_task_id="mine", callback_url="https://example.com/done")
    with pytest.raises(Exception, match="used before"):
        await accept_request(api.resources, account, body)
    assert await hidden_subscribers(api) == []
    with pytest.raises(Invalid):
        await accept_request(api.resources, account, request_body(callback_url="http://10.0.0.1/"))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.COM/a", "callback://example.com:443"),
        ("https://example.com.:8443/a", "callback://example.com:8443"),
        ("HTTP://127.0.0.1/", "callback://127.0.0.1:80"),
        ("http://[::1]:8080/a", "callback://[::1]:8080"),
    ],
)
def test_an_origin_is_a_host_and_a_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


async def test_a_transition_without_an_event_makes_no_delivery(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.create(callback_url=subscriber.url)
    await transition(api.resources, made["id"], StatusUpdate(Signal.LOST))
    assert await fetch(api.resources, "SELECT 1 FROM deliveries") == []
