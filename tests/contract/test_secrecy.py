"""No secret stands in any answer after the first, nor in any log line of a whole flow."""

from collections.abc import Iterator

import pytest
from structlog.typing import EventDict

from service.subjects.domain.work import Work
from tests.conftest import SECRET_KEY, WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.request_bodies import request_body
from tests.support.simulator import API_KEY, SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver


def secrets_in(text: str, *secrets: str) -> list[str]:
    """Which of these, or their tails behind a prefix, stand in a text."""
    tails = [secret.removeprefix("whsec_").removeprefix("csk_") for secret in secrets]
    return [tail for tail in tails if tail in text]


def plain(value: object) -> Iterator[str]:
    """All texts within a value."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from plain(name)
            yield from plain(member)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from plain(entry)
    else:
        yield str(value)


async def test_no_secret_is_logged_in_a_whole_flow_with_its_accidents(
    api: Api,
    subscriber: WebhookReceiver,
    provider: SimulatorClient,
    logged: list[EventDict],
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = await api.subscribe(f"{subscriber.url}/of-a-secret-path")
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    await provider.admin(
        "faults", [{"answer": "drop", "accept": True}, {"code": 1102}, {"code": 5001}]
    )
    await provider.admin("faults", {"on": "query", "code": 1000})
    personal = ["Zuleika Dobson", "An undergraduate's delight.", "/portrait.png?token=abc", "/told"]
    name, description, media, callback_path = personal
    called = {"element_name": name, "element_description": description}
    for _ in range(3):
        await api.create(**called, callback_url=subscriber.url + callback_path)
        await api.work()
    refer = [{"image_url": f"http://127.0.0.1:65010{media}"}]
    images = {"frontal_image": f"http://127.0.0.1:65010{media}&1", "refer_images": refer}
    await api.create(**called, element_image_list=images)
    await api.work()
    await api.http.post("/v1/subjects", json=request_body(element_name=""))
    await api.http.get("/v1/subjects", headers={"authorization": f"Bearer {key}x"})
    await api.http.post("/callbacks", content=b"{}", headers={"webhook-id": WEBHOOK_SECRET})
    url = api.resources.settings.database_url
    password = url.partition("://")[2].partition(":")[2].partition("@")[0]
    secrets = [made["secret"], key, API_KEY, SECRET_KEY, WEBHOOK_SECRET, password]
    secrets += [*personal, "of-a-secret-path"]
    assert len(logged) > 10
    for line in logged:
        assert secrets_in(" ".join(plain(line)), *secrets) == [], line
    printed = capfd.readouterr()
    assert secrets_in(printed.out + printed.err, *secrets) == []


async def test_resources_and_settings_do_not_show_their_secrets(api: Api) -> None:
    shown = repr(api.resources)
    url = api.resources.settings.database_url
    for secret in (API_KEY, SECRET_KEY, WEBHOOK_SECRET, url, "secret key for tests only"):
        assert secrets_in(shown, secret) == []


async def test_no_answer_shows_a_secret_but_the_first(
    api: Api, subscriber: WebhookReceiver
) -> None:
    made = await api.subscribe(subscriber.url)
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    subject = await api.create()
    await api.work(Work.DELIVER)
    for path in (
        "/v1/subscribers",
        f"/v1/subscribers/{made['id']}",
        f"/v1/subscribers/{made['id']}/deliveries",
        "/v1/subjects",
        f"/v1/subjects/{subject['id']}",
        f"/v1/subjects/{subject['id']}/events",
        "/v1/events",
        "/readyz",
        "/healthz",
        "/v1/nothing",
    ):
        answer = await api.http.get(path)
        shown = answer.text + str(answer.headers)
        assert secrets_in(shown, made["secret"], key, API_KEY, SECRET_KEY, WEBHOOK_SECRET) == []
