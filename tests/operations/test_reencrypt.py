"""SECRET_KEY changes: deliveries and callbacks go on verifying, with nothing refused on the way."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from service.app import build
from service.callbacks.steps import reverify, webhook_secrets
from service.kit.crypto.encryption import encryption_context
from service.kit.crypto.key_formats import format_whsec
from service.operations.steps import reencrypt
from service.operations.steps.reencrypt import BATCH
from service.resources import Resources
from service.schema.subscribers import previous_signing_keys
from service.settings import read_settings
from service.subjects.domain.work import Work
from service.subscribers.store import signing_keys
from service.subscribers.store.signing_keys import SigningKeys
from service.wiring import open_resources
from tests.conftest import SECRET_KEY
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.database import fetch, wait_until_blocked
from tests.support.http_server import http_server
from tests.support.installation import look
from tests.support.secret_rotation import (
    UNUSED_URL,
    VerifyingReceiver,
    deliver_event,
    published_keys,
    rotate_secret,
    verifies_with_key,
    verifies_with_secret,
    verifying_receiver,
)
from tests.test_command_line import run

NEXT_KEY = "dGhlIG5leHQgc2VjcmV0IGtleSwgb2YgMzIgYnl0ZXM="
KEY, OLD_KEYS = "CALLSHEET_SECRET_KEY", "CALLSHEET_PREVIOUS_SECRET_KEYS"
PRESENT = {KEY: SECRET_KEY}
PREPARED = {KEY: SECRET_KEY, OLD_KEYS: NEXT_KEY}
CHANGED = {KEY: NEXT_KEY, OLD_KEYS: SECRET_KEY}
ALONE = {KEY: NEXT_KEY}
ADDED = format_whsec(b"a secret that was added later")
SHARED = "a-secret-shared-with-relay"
RETIRED = (
    "INSERT INTO previous_signing_keys (id, owner_id, secret, expires_at) VALUES ($1, $2, $3, $4)"
)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Settings without webhook secrets: all are added; and one more source, which shares one."""
    sources = '{"relay": {"scheme": "shared-secret"}}'
    return environ | {"CALLSHEET_WEBHOOK_SECRETS": "", "CALLSHEET_CALLBACK_SOURCES": sources}


@asynccontextmanager
async def process(api: Api, environ: Mapping[str, str]) -> AsyncIterator[Resources]:
    """What another process has, with settings of its own; the time is the test's."""
    home = {"CALLSHEET_PUBLIC_URL": api.resources.settings.public_url}
    async with open_resources(read_settings({**environ, **home})) as opened:
        look(opened, opened.settings.public_url)
        yield replace(opened, clock=api.resources.clock, random=api.resources.random)


@asynccontextmanager
async def restarted(api: Api, environ: Mapping[str, str]) -> AsyncIterator[Api]:
    """The same service, started with other settings."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(process(api, environ))
        address = await stack.enter_async_context(http_server(build(opened)))
        http = httpx.AsyncClient(
            base_url=address, headers=api.http.headers, trust_env=False, timeout=30
        )
        yield Api(opened, await stack.enter_async_context(http))


async def call_back(api: Api, subject_id: str, name: str, number: int) -> int:
    """The status that a signed callback to the address of this name gets."""
    body = legacy_callback(subject_id, "processing", updated_at=number)
    headers = signed_headers(body, api.resources.clock(), f"msg_{number}", ADDED)
    return (await api.http.post(f"/callbacks/{name}", content=body, headers=headers)).status_code


async def believing(api: Api, theirs: VerifyingReceiver, made: Mapping[str, Any], new: str) -> None:
    """One delivery: by all that signed before the change, and as the headers were."""
    got = await deliver_event(api, theirs)
    now = api.resources.clock()
    assert all(verifies_with_secret(secret, got, now) for secret in (made["secret"], new))
    assert [verifies_with_key(key, got) for key in await published_keys(api)] == [True, True]
    assert got[0]["x-own"] == "a header of its own"


async def test_a_changed_key_refuses_nothing_while_processes_restart_or_after(
    api: Api, environ: dict[str, str]
) -> None:
    """Promise 9, for the key that keeps all others: told of, changed, reencrypted, and the old one
    dropped."""
    await webhook_secrets.add(api.resources, "provider", ADDED)
    account = (await api.http.get("/v1/account/callback-secret")).json()
    async with verifying_receiver(api) as theirs:
        made = await api.subscribe(
            theirs.url,
            event_types=["subject.queued"],
            signatures=["v1", "v1a"],
            headers={"x-own": "a header of its own"},
        )
        new = (await rotate_secret(api, made))["secret"]
        theirs.secrets = [made["secret"]]
        await believing(api, theirs, made, new)
        subject = (await api.create())["id"]
        await api.work(Work.DELIVER)
        old_name = url_token(api.resources, subject)
        async with (
            restarted(api, environ | PREPARED) as prepared,
            restarted(api, environ | CHANGED) as changed,
        ):
            new_name = url_token(changed.resources, subject)
            assert url_token(prepared.resources, subject) == old_name != new_name
            for number, (process, name) in enumerate(
                [
                    (prepared, old_name),
                    (prepared, new_name),
                    (changed, old_name),
                    (changed, new_name),
                ]
            ):
                assert await call_back(process, subject, name, number) == 200
            assert await call_back(changed, subject, f"{new_name}x", 9) == 401
            other = await changed.subscribe(UNUSED_URL)
            await rotate_secret(prepared, other)
            await rotate_secret(changed, other)
            await prepared.http.delete(f"/v1/subscribers/{other['id']}")
            await believing(prepared, theirs, made, new)
            done = await reencrypt.reencrypt(changed.resources)
            assert (done.reencrypted, done.undecryptable) == (7, [])
            await believing(prepared, theirs, made, new)
            assert (await prepared.http.get("/v1/account/callback-secret")).json() == account
        async with restarted(api, environ | ALONE) as alone:
            await believing(alone, theirs, made, new)
            assert (await alone.http.get("/v1/account/callback-secret")).json() == account
            assert await call_back(alone, subject, new_name, 10) == 200
            assert await call_back(alone, subject, old_name, 11) == 401
            assert await reencrypt.reencrypt(alone.resources) == reencrypt.ReencryptionReport()
        assert theirs.refused == []
    rows = await fetch(api.resources, "SELECT DISTINCT version FROM subscribers")
    assert rows == [{"version": 2}], "what was opened before is good still"


async def test_reencrypting_amid_rotations_leaves_nothing_under_the_old_key(
    api: Api, environ: dict[str, str]
) -> None:
    made = [await api.subscribe(UNUSED_URL, signatures=["v1", "v1a"]) for _ in range(4)]
    async with restarted(api, environ | CHANGED) as changed:
        turns = [rotate_secret(changed, subscriber) for subscriber in made for _ in range(3)]
        done, *_ = await asyncio.gather(reencrypt.reencrypt(changed.resources), *turns)
    assert done.undecryptable == []
    async with process(api, environ | ALONE) as alone:
        assert await reencrypt.reencrypt(alone) == reencrypt.ReencryptionReport()
        wanted = {subscriber["id"]: 4 for subscriber in made}
        known = await alone.send_settings.get_many(alone.database, wanted, alone.clock())
        assert [len(settings.keys) for settings in known.values()] == [4] * 4


async def test_reencrypting_waits_for_a_change_and_never_undoes_it(
    api: Api, environ: dict[str, str]
) -> None:
    made = await api.subscribe(UNUSED_URL)
    (account,) = await fetch(api.resources, "SELECT account_id FROM subscribers")
    encryptor, bound = api.resources.encryptor, encryption_context(made["id"])
    async with process(api, environ | CHANGED) as changed:
        async with api.resources.database.transaction() as tx:
            await signing_keys.lock(tx, account["account_id"], made["id"])
            reencrypting = asyncio.create_task(reencrypt.reencrypt(changed))
            await wait_until_blocked(api.resources)
            keys = SigningKeys(encryptor.encrypt(b"the new key", bound), None, None)
            await signing_keys.replace(tx, made["id"], keys)
        assert (await reencrypting).reencrypted == 1
    (row,) = await fetch(api.resources, "SELECT secret FROM subscribers")
    assert changed.encryptor.decrypt(row["secret"], bound) == b"the new key"
    assert changed.encryptor.reencrypt(row["secret"], bound) is None


async def test_who_stands_for_callback_urls_has_nothing_of_its_own_to_seal(
    api: Api, environ: dict[str, str]
) -> None:
    await api.subscribe(UNUSED_URL)
    await fetch(api.resources, "UPDATE subscribers SET type = 'callback', secret = ''")
    async with process(api, environ | CHANGED) as changed:
        assert await reencrypt.reencrypt(changed) == reencrypt.ReencryptionReport()


async def test_reencrypting_that_broke_off_goes_on_when_it_is_run_again(
    api: Api, environ: dict[str, str]
) -> None:
    encryptor, until = api.resources.encryptor, api.resources.clock()
    for number in range(BATCH + 10):
        row = (
            f"key_{number:03}",
            "own",
            encryptor.encrypt(b"a key", encryption_context("own")),
            until,
        )
        await fetch(api.resources, RETIRED, *row)
    held = select(previous_signing_keys).where(previous_signing_keys.c.id == f"key_{BATCH + 1:03}")
    async with process(api, environ | CHANGED) as changed, process(api, environ | ALONE) as alone:
        async with api.resources.database.transaction() as tx:
            await tx.execute(held.with_for_update())
            broken = asyncio.create_task(reencrypt.reencrypt(changed))
            await wait_until_blocked(api.resources)
            broken.cancel()
            await asyncio.wait([broken])
        left = (await reencrypt.reencrypt(alone)).undecryptable
        assert left == [
            f"secret of previous_signing_keys key_{BATCH + number:03}" for number in range(10)
        ]
        assert (await reencrypt.reencrypt(changed)).reencrypted == 10
        assert await reencrypt.reencrypt(alone) == reencrypt.ReencryptionReport()


async def test_the_command_says_what_was_done_and_how_long_the_old_key_is_needed(
    api: Api, environ: dict[str, str]
) -> None:
    await api.subscribe(UNUSED_URL)
    lost = await api.subscribe(UNUSED_URL)
    change = "UPDATE subscribers SET seed = 'sealed elsewhere' WHERE id = $1"
    await fetch(api.resources, change, lost["id"])
    done = await run(environ | CHANGED, "reencrypt")
    assert (done.returncode, done.stdout) == (
        1,
        "2 values were encrypted anew, 1 could not be decrypted.\n",
    )
    assert f"No key decrypts the seed of subscribers {lost['id']}" in done.stderr
    await fetch(api.resources, "UPDATE subscribers SET seed = NULL")
    done = await run(environ | CHANGED, "reencrypt")
    first, second = done.stdout.splitlines()
    assert (done.returncode, first) == (
        0,
        "0 values were encrypted anew, 0 could not be decrypted.",
    )
    assert "86400 seconds (TASK_DEADLINE)" in second
    done = await run(environ | ALONE, "reencrypt")
    assert (done.returncode, done.stdout.splitlines()) == (0, [first])


async def test_a_webhook_secret_is_known_by_its_fingerprint_under_either_key(
    api: Api, environ: dict[str, str]
) -> None:
    """Else the same secret could be added twice, and be in force still when it was removed."""
    old, _ = await webhook_secrets.add(api.resources, "provider", ADDED)
    async with process(api, environ | CHANGED) as changed:
        assert await webhook_secrets.add(changed, "provider", ADDED) == (old, False)
        await reencrypt.reencrypt(changed)
        (anew,) = await webhook_secrets.list_secrets(changed)
        assert (anew.id, anew.fingerprint != old.fingerprint) == (old.id, True)
        assert await webhook_secrets.add(changed, "provider", ADDED) == (anew, False)
        # A process that has not been told yet adds it again; `reencrypt` makes the two one.
        _, added = await webhook_secrets.add(api.resources, "provider", ADDED)
        assert added
        await reencrypt.reencrypt(changed)
        (left,) = await webhook_secrets.list_secrets(changed)
        assert left.fingerprint == anew.fingerprint


async def test_a_kept_callback_with_a_shared_secret_can_be_verified_under_the_next_key(
    api: Api, environ: dict[str, str]
) -> None:
    subject = (await api.create())["id"]
    path = f"/callbacks/relay/{url_token(api.resources, subject)}"
    for number, secret in enumerate((SHARED, "another-secret-altogether")):
        answer = await api.http.post(
            path,
            content=legacy_callback(subject, "processing", updated_at=number),
            headers={"x-webhook-secret": secret},
        )
        assert answer.status_code == 401
    async with process(api, environ | CHANGED) as changed:
        await webhook_secrets.add(changed, "relay", SHARED)
        assert await reverify.reverify_all(changed, "relay") == (2, 1)
