"""Secret rotation while deliveries go on: every signature verifies."""

import asyncio
from datetime import timedelta

import pytest
from standardwebhooks import Webhook
from structlog.typing import EventDict
from svix.webhooks import Webhook as SvixWebhook

from service.callbacks.domain import verification
from service.callbacks.domain.signature_schemes import V1A, read_secret
from service.kit.crypto.key_formats import parse_whsec
from service.kit.errors import NotFound
from service.retention.steps import prune
from service.subjects.domain.work import Work
from service.subscribers.steps import rotate as subscribers_rotate
from service.subscribers.steps.rotate import MAX_PREVIOUS_KEYS
from tests.conftest import SECRET_KEY
from tests.contract.test_secrecy import plain, secrets_in
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.secret_rotation import (
    UNUSED_URL,
    deliver_event,
    published_keys,
    rotate_secret,
    verifies_with_key,
    verifies_with_secret,
    verifying_receiver,
)
from tests.support.waiting import wait_until

BOTH = ["v1", "v1a"]
CREATORS = 3
EACH = 8  # deliveries taken in each stage of a rotation


async def test_published_verifiers_accept_deliveries_before_and_during_a_rotation(
    api: Api,
) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url)
        receiver.secrets = [made["secret"]]
        first = await deliver_event(api, receiver)
        new = (await rotate_secret(api, made))["secret"]
        assert new != made["secret"]
        second = await deliver_event(api, receiver)
    for (headers, body), secrets in ((first, [made["secret"]]), (second, [made["secret"], new])):
        for secret in secrets:
            Webhook(secret).verify(body, headers)  # or it raises
            SvixWebhook(secret).verify(body, headers)


async def test_v1a_verifies_by_the_keys_shown_and_by_the_published_ones(
    api: Api, clock: Clock
) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url, signatures=BOTH)
        receiver.secrets = [made["secret"]]
        first = await deliver_event(api, receiver)
        rotated = await rotate_secret(api, made)
        second = await deliver_event(api, receiver)
    (old,) = made["public_keys"]
    assert [key["kid"] for key in rotated["public_keys"][1:]] == [old["kid"]]
    new = rotated["public_keys"][0]
    for request, shown in ((first, [old]), (second, [old, new])):
        for key in shown:
            public = read_secret(V1A, key["key"])
            assert (
                verification.verify_signature(V1A, [public], *request, clock())
                == request[0]["webhook-id"]
            )
    published = {key["kid"]: key for key in await published_keys(api)}
    assert published.keys() == {old["kid"], new["kid"]}
    assert verifies_with_key(published[old["kid"]], first)
    assert not verifies_with_key(published[new["kid"]], first)
    assert all(verifies_with_key(key, second) for key in published.values())
    assert first[0]["webhook-signature"].startswith("v1,"), "v1 always, and first"


async def test_a_rotation_under_load_has_no_delivery_refused(api: Api, clock: Clock) -> None:
    """Promise 9: the subscriber takes the new secret over when it has it, and drops the old one
    when the overlap is over."""
    over = False

    async def creator() -> None:
        while not over:
            await api.create()

    async def worker() -> None:
        while not over:
            await api.work(Work.DELIVER)

    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url, signatures=BOTH)
        receiver.secrets = [made["secret"]]

        async def deliver_some() -> None:
            target = len(receiver.accepted) + EACH

            async def enough() -> bool:
                return len(receiver.accepted) >= target

            await wait_until(enough, 20)

        workers = [asyncio.create_task(run()) for run in (worker, *[creator] * CREATORS)]
        await deliver_some()
        new = (await rotate_secret(api, made, overlap=60))["secret"]
        await deliver_some()  # it knows the old one alone
        receiver.secrets.append(new)
        await deliver_some()
        clock.advance(61)
        receiver.secrets = [new]
        before = len(receiver.accepted)
        await deliver_some()
        over = True
        await asyncio.gather(*workers)
        assert receiver.refused == []
    rows = await fetch(api.resources, "SELECT status, error FROM attempts")
    assert {(row["status"], row["error"]) for row in rows} == {(200, None)}
    assert not any(
        verifies_with_secret(made["secret"], request, clock())
        for request in receiver.accepted[before:]
    )
    assert await api.violations() == []


async def test_the_old_secret_signs_until_the_overlap_is_over_and_then_no_more(
    api: Api, clock: Clock
) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url, signatures=BOTH)
        new = (await rotate_secret(api, made, overlap=100))["secret"]
        receiver.secrets = [new]
        clock.advance(99.9)
        request = await deliver_event(api, receiver)
        assert verifies_with_secret(made["secret"], request, clock())
        assert len(await published_keys(api)) == 2
        clock.advance(0.1)
        request = await deliver_event(api, receiver)
        assert not verifies_with_secret(made["secret"], request, clock())
        assert [request[0]["webhook-signature"].count(version) for version in ("v1,", "v1a,")] == [
            1,
            1,
        ]
        (left,) = await published_keys(api)
        assert verifies_with_key(left, request)
        assert left["kid"] != made["public_keys"][0]["kid"]


async def test_without_an_overlap_the_old_secret_signs_no_more(api: Api, clock: Clock) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url)
        receiver.secrets = [(await rotate_secret(api, made, overlap=0))["secret"]]
        request = await deliver_event(api, receiver)
        assert not verifies_with_secret(made["secret"], request, clock())
    assert await fetch(api.resources, "SELECT id FROM previous_signing_keys") == []


async def test_after_many_rotations_the_newest_previous_secrets_sign(
    api: Api, clock: Clock
) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url, signatures=BOTH)
        secrets = [made["secret"]]
        for _ in range(MAX_PREVIOUS_KEYS + 2):
            clock.advance(1)
            secrets.append((await rotate_secret(api, made))["secret"])
        receiver.secrets = [secrets[-1]]
        request = await deliver_event(api, receiver)
        assert [verifies_with_secret(secret, request, clock()) for secret in secrets] == [
            False
        ] * 2 + [True] * 6
        assert request[0]["webhook-signature"].count("v1a,") == MAX_PREVIOUS_KEYS + 1
    assert len(await published_keys(api)) == MAX_PREVIOUS_KEYS + 1


async def test_a_shorter_overlap_does_not_cut_an_earlier_one_short(api: Api, clock: Clock) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url)
        second = (await rotate_secret(api, made, overlap=1000))["secret"]
        clock.advance(1)
        third = (await rotate_secret(api, made, overlap=10))["secret"]
        clock.advance(10)
        fourth = (await rotate_secret(api, made, overlap=10))["secret"]
        receiver.secrets = [fourth]
        request = await deliver_event(api, receiver)
        signing_now = [
            verifies_with_secret(secret, request, clock())
            for secret in (made["secret"], second, third)
        ]
    assert signing_now == [True, False, True]
    rows = await fetch(api.resources, "SELECT id FROM previous_signing_keys")
    assert len(rows) == 2, "the rotation itself forgets what signs no more"


async def test_concurrent_rotations_take_effect_one_after_the_other(api: Api, clock: Clock) -> None:
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url, signatures=BOTH)
        answers = await asyncio.gather(
            *(rotate_secret(api, made) for _ in range(MAX_PREVIOUS_KEYS))
        )
        secrets = [made["secret"], *(answer["secret"] for answer in answers)]
        receiver.secrets = secrets
        request = await deliver_event(api, receiver)
    assert len(set(secrets)) == len(secrets)
    assert all(verifies_with_secret(secret, request, clock()) for secret in secrets)
    assert all(verifies_with_key(key, request) for key in await published_keys(api))
    (row,) = await fetch(api.resources, "SELECT version FROM subscribers")
    assert row["version"] == 1 + MAX_PREVIOUS_KEYS


async def test_a_rotation_concurrent_with_a_deletion_leaves_nothing_behind(api: Api) -> None:
    made = await api.subscribe(UNUSED_URL, signatures=BOTH)
    path = f"/v1/subscribers/{made['id']}"
    calls = [api.http.post(f"{path}/rotate-secret") for _ in range(4)]
    answers = await asyncio.gather(*calls, api.http.delete(path))
    assert {answer.status_code for answer in answers} <= {200, 204, 404}
    assert (await api.http.post(f"{path}/rotate-secret")).status_code == 404


@pytest.mark.parametrize("kind", ["nats", "redis_stream"])
async def test_a_subscriber_that_is_a_stream_rotates_its_secret_too(
    api: Api, kind: str, clock: Clock
) -> None:
    made = await api.subscribe(UNUSED_URL)
    change = "UPDATE subscribers SET type = $1, channel = 'c', version = version + 1"
    await fetch(api.resources, change, kind)
    new = (await rotate_secret(api, made))["secret"]
    wanted = {made["id"]: 3}
    found = await api.resources.send_settings.get_many(api.resources.database, wanted, clock())
    keys = found[made["id"]].keys_at(clock())
    assert [key.secret for key in keys] == [parse_whsec(new), parse_whsec(made["secret"])]


async def test_pruning_deletes_keys_that_sign_no_more(api: Api, clock: Clock) -> None:
    made = await api.subscribe(UNUSED_URL)
    await rotate_secret(api, made, overlap=10)
    clock.advance(1)
    await rotate_secret(api, made, overlap=100)
    clock.advance(9)
    await prune.prune(api.resources)
    (left,) = await fetch(api.resources, "SELECT expires_at FROM previous_signing_keys")
    assert left["expires_at"] - clock() == timedelta(seconds=91)


async def test_a_rotation_replaces_keys_that_cannot_be_decrypted(
    api: Api, logged: list[EventDict], clock: Clock
) -> None:
    """As after SECRET_KEY was lost: the new secret signs, and nothing keeps it from doing so."""
    async with verifying_receiver(api) as receiver:
        made = await api.subscribe(receiver.url, signatures=BOTH)
        await rotate_secret(api, made)
        clock.advance(1)
        for table in ("subscribers", "previous_signing_keys"):
            await fetch(api.resources, f"UPDATE {table} SET seed = '\\x0102'")  # noqa: S608 - ours
        receiver.secrets = [(await rotate_secret(api, made))["secret"]]
        await deliver_event(api, receiver)
    assert await fetch(api.resources, "SELECT id FROM previous_signing_keys") == []
    assert [line["action"] for line in logged].count("secret_unreadable") == 2


async def test_no_secret_is_logged_or_kept_in_clear(
    api: Api, logged: list[EventDict], capfd: pytest.CaptureFixture[str]
) -> None:
    made = await api.subscribe(UNUSED_URL, signatures=BOTH)
    new = (await rotate_secret(api, made))["secret"]
    account = (await api.http.get("/v1/account/callback-secret")).json()["secret"]
    changed = (await api.http.post("/v1/account/callback-secret/rotate")).json()["secret"]
    secrets = [made["secret"], new, account, changed, SECRET_KEY]
    assert [line["action"] for line in logged].count("secret_rotated") == 2
    for line in logged:
        assert secrets_in(" ".join(plain(line)), *secrets) == [], line
    printed = capfd.readouterr()
    assert secrets_in(printed.out + printed.err, *secrets) == []
    rows = [
        *await fetch(api.resources, "SELECT * FROM subscribers"),
        *await fetch(api.resources, "SELECT * FROM previous_signing_keys"),
        *await fetch(api.resources, "SELECT * FROM accounts"),
    ]
    keys = [parse_whsec(secret) for secret in secrets[:-1]]
    stored = [value for row in rows for value in row.values() if isinstance(value, bytes)]
    assert not [key for key in keys for value in stored if key in value]


async def test_an_unknown_account_has_nothing_to_rotate(api: Api) -> None:
    made = await api.subscribe(UNUSED_URL)
    with pytest.raises(NotFound):
        await subscribers_rotate.rotate(api.resources, "acc_of_nobody", made["id"], {})
