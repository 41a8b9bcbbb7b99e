"""Webhook secrets rotate while all runs: at once, in every process, rejecting nothing."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import fields, replace

import pytest
from structlog.typing import EventDict

from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.callbacks.domain.signature_schemes import V1, Hmac
from service.callbacks.steps import reverify, webhook_secrets
from service.kit.crypto.key_formats import format_whsec, parse_whsec
from service.kit.errors import Invalid, NotFound
from service.resources import Resources
from service.settings import Settings
from service.wiring import open_resources
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.database import fetch
from tests.support.signed_callbacks import WHPK
from tests.support.waiting import wait_until

OLD = format_whsec(b"the secret of the old days")
NEW = format_whsec(b"the secret of the new days")
SENDERS = 4
EACH = 30  # callbacks answered in each stage of a rotation


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Settings without webhook secrets, and with sources of several kinds."""
    sources = (
        '{"relay": {"scheme": "shared-secret"}, "open": {"scheme": "unsigned"},'
        ' "ed": {"scheme": "v1a"}}'
    )
    return environ | {"CALLSHEET_WEBHOOK_SECRETS": "", "CALLSHEET_CALLBACK_SOURCES": sources}


@pytest.fixture
async def elsewhere(settings: Settings) -> AsyncIterator[Resources]:
    """The resources of another process than that which serves."""
    async with open_resources(settings) as opened:
        yield opened


class Caller:
    """The provider, who signs what he sends with this secret or that."""

    def __init__(self, api: Api, subject_id: str) -> None:
        self._api = api
        self._subject_id = subject_id
        self.number = 0

    async def send(self, secret: str | None) -> int:
        """One message more about the subject; the status."""
        self.number += 1
        body = legacy_callback(self._subject_id, "processing", updated_at=self.number)
        headers = {}
        if secret is not None:
            now = self._api.resources.clock()
            headers = signed_headers(body, now, f"msg_{self.number}", secret)
        path = f"/callbacks/{url_token(self._api.resources, self._subject_id)}"
        return (await self._api.http.post(path, content=body, headers=headers)).status_code


async def caller(api: Api) -> Caller:
    return Caller(api, (await api.create())["id"])


async def test_a_secret_is_in_force_everywhere_as_soon_as_it_is_added_and_until_removed(
    api: Api, elsewhere: Resources
) -> None:
    provider = await caller(api)
    assert [await provider.send(secret) for secret in (None, OLD)] == [200, 200], "all are hints"
    old, _ = await webhook_secrets.add(elsewhere, "provider", OLD)
    assert [await provider.send(secret) for secret in (None, OLD, NEW)] == [401, 200, 401]
    await webhook_secrets.add(elsewhere, "provider", NEW)
    assert [await provider.send(secret) for secret in (None, OLD, NEW)] == [401, 200, 200]
    assert old.id is not None
    await webhook_secrets.remove(elsewhere, old.id)
    assert [await provider.send(secret) for secret in (None, OLD, NEW)] == [401, 401, 200]


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("provider", "Hmac"),
        ("ed", "Ed25519"),
        ("relay", "SharedSecret"),
        ("open", "Unsigned"),
        ("gone", "NoneType"),
    ],
)
async def test_a_secret_is_bound_to_a_label_that_never_changes(
    resources: Resources, source: str, label: str
) -> None:
    """Each label is a part of what is encrypted: with another, the secret opens no more."""
    assert resources.webhook_secrets.encryption_context(source, "sec_1") == f"sec_1 {label}"


async def test_a_secret_opens_after_the_class_of_its_scheme_was_renamed(
    resources: Resources, settings: Settings
) -> None:
    class Renamed(Hmac):
        pass

    renamed = Renamed(
        **{
            attribute.name: getattr(V1, attribute.name)
            for attribute in fields(V1)
            if attribute.init
        }
    )
    await webhook_secrets.add(resources, "provider", OLD)
    changed = replace(settings, callback_sources={"provider": renamed})
    cache = WebhookSecretCache(changed, resources.encryptor)
    async with resources.database.transaction() as tx:
        await cache.refresh(tx)
    assert cache.scheme_and_keys("provider") == (renamed, (parse_whsec(OLD),))


async def test_a_rotation_under_load_refuses_nothing_that_is_signed_with_a_secret_in_force(
    api: Api, elsewhere: Resources
) -> None:
    provider = await caller(api)
    old, _ = await webhook_secrets.add(elsewhere, "provider", OLD)
    assert old.id is not None
    answered: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    stage, count, over = "old", 0, False

    async def sender(number: int) -> None:
        nonlocal count
        while not over:
            number += 1
            secret = (OLD, NEW)[number % 2]
            before = stage
            status = await provider.send(secret)
            if stage == before:  # else it was in force for a part of the time
                answered[stage, secret].add(status)
            count += 1

    async def some() -> None:
        target = count + EACH

        async def enough() -> bool:
            return count >= target

        await wait_until(enough)

    senders = [asyncio.create_task(sender(number)) for number in range(SENDERS)]
    await some()
    stage = "adding"
    await webhook_secrets.add(elsewhere, "provider", NEW)
    stage = "both"
    await some()
    stage = "removing"
    await webhook_secrets.remove(elsewhere, old.id)
    stage = "new"
    await some()
    over = True
    await asyncio.gather(*senders)
    for name, old_statuses, new_statuses in (
        ("old", {200}, {401}),
        ("both", {200}, {200}),
        ("new", {401}, {200}),
    ):
        assert (answered[name, OLD], answered[name, NEW]) == (old_statuses, new_statuses), name
    assert answered["adding", OLD] <= {200}
    assert answered["removing", NEW] <= {200}
    verified, accepted = await reverify.reverify_all(elsewhere, "provider")
    assert 0 < accepted < verified, (
        "what the new secret had signed too early; not what the old had late"
    )
    left = await fetch(
        api.resources, "SELECT sum(times_received) AS n FROM callbacks WHERE verdict = 'rejected'"
    )
    assert left[0]["n"] == verified - accepted
    received = await fetch(api.resources, "SELECT sum(times_received) AS n FROM callbacks")
    assert received[0]["n"] == provider.number, "nothing is lost"


async def test_secrets_are_encrypted_known_by_their_fingerprints_and_stored_once(
    api: Api, elsewhere: Resources
) -> None:
    assert await webhook_secrets.list_secrets(elsewhere) == []
    added, new = await webhook_secrets.add(elsewhere, "provider", OLD)
    assert new
    assert len(added.fingerprint) == 12
    assert added.fingerprint != hashlib.sha256(parse_whsec(OLD)).hexdigest()[:12], (
        "not to be guessed"
    )
    secret, new = await webhook_secrets.add(api.resources, "provider", OLD)
    assert (secret, new) == (added, False)
    other, _ = await webhook_secrets.add(elsewhere, "relay", "a-text-for-the-relay")
    assert await webhook_secrets.list_secrets(api.resources) == [added, other]
    assert other.fingerprint != added.fingerprint
    rows = await fetch(api.resources, "SELECT * FROM webhook_secrets")
    assert parse_whsec(OLD) not in rows[0]["secret"]


async def test_a_public_key_never_becomes_the_secret_of_an_hmac(
    elsewhere: Resources, logged: list[EventDict]
) -> None:
    """Where a source comes to sign otherwise, what was known of it opens no more."""
    await webhook_secrets.add(elsewhere, "ed", WHPK)
    changed = replace(
        elsewhere.settings, callback_sources={**elsewhere.settings.callback_sources, "ed": V1}
    )
    cache = WebhookSecretCache(changed, elsewhere.encryptor)
    for known, count in ((elsewhere.webhook_secrets, 1), (cache, 0)):
        async with elsewhere.database.autocommit() as tx:
            await known.refresh(tx)
        assert len(known.scheme_and_keys("ed")[1]) == count
    assert [line["action"] for line in logged] == ["secret_unreadable"]


async def test_who_removes_the_last_secret_of_a_source_is_told(elsewhere: Resources) -> None:
    ids = [
        (await webhook_secrets.add(elsewhere, "provider", secret))[0].id or ""
        for secret in (OLD, NEW)
    ]
    await webhook_secrets.add(elsewhere, "relay", "a-text-for-the-relay")
    removed, last = await webhook_secrets.remove(elsewhere, ids[0])
    assert (removed.id, last) == (ids[0], False)
    with pytest.raises(NotFound):
        await webhook_secrets.remove(elsewhere, ids[0])
    assert (await webhook_secrets.remove(elsewhere, ids[1]))[1]


async def test_two_who_remove_the_same_at_once_remove_it_once(elsewhere: Resources) -> None:
    secret, _ = await webhook_secrets.add(elsewhere, "provider", OLD)
    removals = (webhook_secrets.remove(elsewhere, secret.id or "") for _ in range(4))
    outcomes = await asyncio.gather(*removals, return_exceptions=True)
    assert [isinstance(outcome, NotFound) for outcome in outcomes].count(False) == 1


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        ("nobody", OLD, "source must be one of ed, open, provider, relay; not 'nobody'"),
        ("provider", "", "secret is not usable: a webhook secret starts with whsec_"),
        ("provider", "whsec_MTIz", "secret is not usable: a webhook secret has 24 to 64 bytes"),
        ("provider", "whsec_ä", "secret is not usable: a webhook secret is Base64 after whsec_"),
        ("open", "x" * 20, "secret is not usable: an unsigned source has no secret"),
        (
            "relay",
            "short",
            "secret is not usable: a secret text is 16 to 512 visible ASCII characters",
        ),
        ("ed", OLD, "secret is not usable: a public key starts with whpk_"),
    ],
)
async def test_what_is_no_secret_of_its_source_is_refused_with_the_rule(
    elsewhere: Resources, source: str, text: str, message: str
) -> None:
    with pytest.raises(Invalid) as raised:
        await webhook_secrets.add(elsewhere, source, text)
    assert [error.message for error in raised.value.errors] == [message]
    assert await webhook_secrets.list_secrets(elsewhere) == []
