"""Each source of callbacks has its own address and signature scheme; neither is guessed."""

from dataclasses import replace

import httpx
import pytest
from structlog.typing import EventDict

from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.callbacks.domain.callback import RawCallback
from service.callbacks.domain.signature_schemes import V1
from service.callbacks.steps import reverify, webhook_secrets
from service.callbacks.steps.verify import verify
from service.resources import Resources
from tests.support.api import Api
from tests.support.callbacks import url_token
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.signed_callbacks import (
    BODY,
    NOW,
    SETTING,
    UNSIGNED_CALLBACK,
    VERIFIABLE,
    SignedCallback,
    relay,
    source_of,
)

HINTS = {"kie", "piapi", "bearer", "old"}  # these do not sign the body


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"CALLSHEET_CALLBACK_SOURCES": SETTING}


@pytest.fixture
def clock() -> Clock:
    """The time at which the callbacks were signed."""
    return Clock(NOW)


async def post(api: Api, path: str, callback: SignedCallback) -> httpx.Response:
    return await api.http.post(
        path, content=BODY, headers={"authorization": "", **callback.headers}
    )


async def add_secret(api: Api, callback: SignedCallback) -> None:
    if callback.secret:
        await webhook_secrets.add(api.resources, callback.source, callback.secret)


async def at_subject(api: Api, source: str) -> str:
    """The address of a new subject for a source."""
    subject_id = (await api.create())["id"]
    return f"/callbacks/{source}/{url_token(api.resources, subject_id)}"


@pytest.mark.parametrize("callback", [*VERIFIABLE, UNSIGNED_CALLBACK], ids=source_of)
async def test_a_source_is_believed_as_far_as_it_vouches_for_the_body(
    api: Api, callback: SignedCallback
) -> None:
    path = await at_subject(api, callback.source)
    if callback.secret:
        assert (await post(api, path, callback)).status_code == 401, "no secret is known yet"
    await add_secret(api, callback)
    answer = await post(api, path, callback)
    # The body says that it succeeded, and not as what: whoever is believed has the provider asked.
    expected = "hint" if callback.source in HINTS else "parked"
    assert (answer.status_code, answer.json()) == (200, {"verdict": expected})
    answer = await post(api, f"/callbacks/{callback.source}", callback)
    assert (answer.status_code, answer.json()) == (200, {"verdict": "unknown"})


@pytest.mark.parametrize("callback", VERIFIABLE, ids=source_of)
async def test_what_one_source_signs_is_nothing_at_another(
    api: Api, callback: SignedCallback
) -> None:
    for other in (*VERIFIABLE, relay()):
        await add_secret(api, other)
    others = [other.source for other in VERIFIABLE if dict(other.headers) != dict(callback.headers)]
    for source in ["provider", *others]:
        path = await at_subject(api, source)
        assert (await post(api, path, callback)).status_code == 401, source


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/callbacks/nobody/sub_1.x", 401),
        ("/callbacks/Nobody/sub_1.x", 401),
        ("/callbacks/relay/sub_1.x", 401),
        ("/callbacks/%00", 401),
        ("/callbacks/%ff%ed%a0%80", 401),
        ("/callbacks/" + "x" * 8000, 401),
        ("/callbacks/", 401),
        ("/callbacks/sub_1.x/", 401),
        ("/callbacks/nobody/sub_1.x/", 401),
        ("/callbacks//", 404),
        ("/callbacks//sub_1.x", 404),
        ("/callbacks/sub_1.x//", 404),
        ("/callbacks/relay/sub_1.x/more", 404),
        ("/callbacksx", 404),
    ],
)
async def test_an_address_that_is_none_of_ours_is_refused(api: Api, path: str, status: int) -> None:
    await add_secret(api, relay())
    assert (await post(api, path, relay())).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/relay", "/callbacks/relay/sub_1.x"])
async def test_there_is_nothing_to_do_but_post(api: Api, method: str, path: str) -> None:
    answer = await api.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_source_that_nobody_configured_yet_can_be_verified_later(api: Api) -> None:
    """What it sent is kept under its name, with what Standard Webhooks would need."""
    path = (await at_subject(api, "relay")).replace("relay", "later")
    assert (await post(api, path, relay())).status_code == 401
    (row,) = await fetch(api.resources, "SELECT source, verdict, reason FROM callbacks")
    assert row == {
        "source": "later",
        "verdict": "rejected",
        "reason": "No source of this name is configured.",
    }
    assert await reverify.reverify_all(api.resources, "later") == (1, 0)
    sources = {**api.resources.settings.callback_sources, "later": V1}
    settings = replace(api.resources.settings, callback_sources=sources)
    configured = replace(
        api.resources,
        settings=settings,
        webhook_secrets=WebhookSecretCache(settings, api.resources.encryptor),
    )
    await webhook_secrets.add(configured, "later", relay().secret)
    assert await reverify.reverify_all(configured, "later") == (1, 1)


async def test_a_source_without_a_subject_is_a_source_too(api: Api) -> None:
    assert (await post(api, "/callbacks/later", relay())).status_code == 401
    (row,) = await fetch(api.resources, "SELECT source, token FROM callbacks")
    assert row == {"source": "later", "token": None}


async def test_a_secret_that_cannot_be_decrypted_lets_nothing_pass(
    resources: Resources, logged: list[EventDict]
) -> None:
    """As after a change of SECRET_KEY: its source signs, and what is not signed is no hint."""
    settings = replace(resources.settings, webhook_secrets=())
    given = replace(resources, webhook_secrets=WebhookSecretCache(settings, resources.encryptor))
    unsigned = RawCallback("provider", None, {}, BODY, resources.clock())
    assert verify(given, unsigned).refusal is None
    await webhook_secrets.add(given, "provider", relay().secret)
    await fetch(given, "UPDATE webhook_secrets SET secret = $1", b"sealed with another key")
    async with given.database.autocommit() as tx:
        await given.webhook_secrets.refresh(tx)
    assert str(verify(given, unsigned).refusal) == "No secret is known for this source."
    assert [line["action"] for line in logged] == ["secret_unreadable"]
