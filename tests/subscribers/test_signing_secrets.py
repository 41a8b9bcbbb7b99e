"""Routes of secret rotation, of the account's secret for callback_urls, and of the JWKS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import orjson
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.delivery.steps.send import OutgoingMessage, send
from service.kit.crypto.key_formats import format_whsec, parse_whsec
from service.kit.crypto.webhook_signatures import jwk
from service.subscribers.steps import rotate as subscribers_rotate
from service.subscribers.steps.rotate import MAX_PREVIOUS_KEYS, MAX_PUBLISHED_KEYS
from service.subscribers.store import callback_url_secret
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.secret_rotation import (
    UNUSED_URL,
    published_keys,
    rotate_secret,
    verifies_with_secret,
    verifying_receiver,
)

SECRET = "/v1/account/callback-secret"
GIVEN = format_whsec(b"a secret of the caller's own")
FOR_CALLBACKS = """
    INSERT INTO subscribers (id, account_id, url, description, type, state, secret, created_at)
    VALUES ($1, $2, $3, '', 'callback', 'active', '', $4)
"""
MANY = """
    INSERT INTO subscribers
    SELECT (jsonb_populate_record(s, jsonb_build_object(
        'id', 'sbr_' || lpad(n::text, 9, '0'),
        'public_key', '\\x' || encode(sha256(n::text::bytea), 'hex')
    ))).* FROM subscribers s, generate_series(1, $1::int) n
"""


@asynccontextmanager
async def other(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of another account."""
    headers = {
        "authorization": f"Bearer {await api_keys.create(api.resources, 'other', DEFAULT_SCOPES)}"
    }
    base = str(api.http.base_url)
    async with httpx.AsyncClient(
        base_url=base, headers=headers, trust_env=False, timeout=30
    ) as http:
        yield http


async def account_of(api: Api) -> str:
    (row,) = await fetch(api.resources, "SELECT id FROM accounts WHERE name = 'acme'")
    return str(row["id"])


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"overlap": -1}, {"/overlap": "overlap"}),
        ({"overlap": 604801}, {"/overlap": "overlap"}),
        ({"overlap": 1.5}, {"/overlap": "overlap"}),
        ({"overlap": True}, {"/overlap": "overlap"}),
        ({"overlap": "60"}, {"/overlap": "overlap"}),
        ({"secret": ""}, {"/secret": "secret"}),
        ({"secret": "whsec_c2hvcnQ="}, {"/secret": "secret"}),
        (
            {"overlap": "1", "secret": "secret", "sceret": 1},
            {"/overlap": "overlap", "/secret": "secret", "/sceret": "unknown_field"},
        ),
        ([], {"": "wrong_type"}),
        (None, {"": "wrong_type"}),
    ],
)
async def test_an_invalid_rotation_names_every_error(
    api: Api, body: object, errors: dict[str, str]
) -> None:
    made = await api.subscribe(UNUSED_URL)
    for path in (f"/v1/subscribers/{made['id']}/rotate-secret", f"{SECRET}/rotate"):
        answer = await api.http.post(
            path, content=orjson.dumps(body), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422, answer.text
        found = {error["pointer"]: error["code"] for error in answer.json()["errors"]}
        assert found == errors
    assert await fetch(api.resources, "SELECT id FROM previous_signing_keys") == []


async def test_the_body_may_be_left_out_but_not_be_broken(api: Api, clock: Clock) -> None:
    made = await api.subscribe(UNUSED_URL)
    path = f"/v1/subscribers/{made['id']}/rotate-secret"

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"

    assert (await api.http.post(path)).status_code == 200
    json = {"content-type": "application/json"}
    assert (await api.http.post(path, content=b"{", headers=json)).status_code == 400
    assert (await api.http.post(path, content=pieces(), headers=json)).status_code == 400
    assert (await api.http.post(path, content=b"{}")).status_code == 415
    (row,) = await fetch(api.resources, "SELECT expires_at FROM previous_signing_keys")
    assert (row["expires_at"] - clock()).total_seconds() == 86400


async def test_an_overlap_and_a_secret_that_are_null_are_left_out(api: Api, clock: Clock) -> None:
    made = await api.subscribe(UNUSED_URL)
    path = f"/v1/subscribers/{made['id']}/rotate-secret"
    answer = await api.http.post(path, json={"overlap": None, "secret": None})
    assert answer.status_code == 200, answer.text
    assert answer.json()["secret"] != made["secret"]
    (row,) = await fetch(api.resources, "SELECT expires_at FROM previous_signing_keys")
    assert (row["expires_at"] - clock()).total_seconds() == 86400


async def test_a_rotation_may_bring_its_own_secret(api: Api, clock: Clock) -> None:
    async with verifying_receiver(api, GIVEN) as receiver:
        made = await api.subscribe(receiver.url)
        assert (await rotate_secret(api, made, secret=GIVEN, overlap=604800)) == {
            "id": made["id"],
            "secret": GIVEN,
        }
        await api.create()
        await api.work()
        assert receiver.refused == []
        assert all(verifies_with_secret(GIVEN, request, clock()) for request in receiver.accepted)
        assert receiver.accepted


async def test_what_is_not_the_accounts_or_no_subscriber_of_its_own_is_not_found(
    api: Api, clock: Clock
) -> None:
    made = await api.subscribe(UNUSED_URL)
    await fetch(api.resources, FOR_CALLBACKS, "sbr_cb", await account_of(api), UNUSED_URL, clock())
    async with other(api) as http:
        for caller, id_ in ((http, made["id"]), (api.http, "sbr_cb"), (api.http, "sbr_none")):
            answer = await caller.post(f"/v1/subscribers/{id_}/rotate-secret")
            assert answer.status_code == 404
    assert await fetch(api.resources, "SELECT id FROM previous_signing_keys") == []
    assert (await api.http.post("/v1/subscribers/%00/rotate-secret")).status_code == 404


async def test_the_accounts_secret_is_created_when_first_read_and_stays(api: Api) -> None:
    answers = await asyncio.gather(*(api.http.get(SECRET) for _ in range(8)))
    (secret,) = {answer.json()["secret"] for answer in answers}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    assert len(parse_whsec(secret)) == 32
    async with other(api) as http:
        assert (await http.get(SECRET)).json()["secret"] != secret
    assert (await api.http.get(SECRET)).json() == {"secret": secret}


@pytest.mark.parametrize("end", ["committed", "rolled back"])
async def test_concurrent_first_uses_of_the_accounts_secret_get_one_secret(
    api: Api, end: str
) -> None:
    """Of two transactions that find none, the second gets the first one's; or makes it itself, if
    the first comes to nothing."""
    account, made = await account_of(api), None
    with suppress(LookupError):
        async with api.resources.database.transaction() as tx:
            await subscribers_rotate.ensure_callback_url_secret(tx, api.resources, account)
            made = await callback_url_secret.get(tx, account)
            second = asyncio.create_task(
                subscribers_rotate.get_callback_url_secret(api.resources, account)
            )
            await wait_until_blocked(api.resources)
            if end == "rolled back":
                raise LookupError
    secret = await second
    async with api.resources.database.autocommit() as tx:
        stored = await callback_url_secret.get(tx, account)
    assert (stored == made) is (end == "committed")
    assert stored is not None
    assert format_whsec(api.resources.encryptor.decrypt(stored, account)) == secret


async def test_the_accounts_secret_rotates_and_senders_read_it_anew(api: Api, clock: Clock) -> None:
    account = await account_of(api)
    old = (await api.http.get(SECRET)).json()["secret"]
    await api.create()
    (event,) = await fetch(api.resources, "SELECT id, type, body FROM events")
    message = OutgoingMessage(event["id"], event["type"], event["body"], "dlv_1.1")
    async with verifying_receiver(api, old) as receiver:
        await fetch(api.resources, FOR_CALLBACKS, "sbr_1", account, receiver.url, clock())
        await fetch(api.resources, FOR_CALLBACKS, "sbr_2", account, UNUSED_URL, clock())

        async def sent() -> None:
            rows = await fetch(api.resources, "SELECT id, version FROM subscribers")
            wanted = {row["id"]: row["version"] for row in rows}
            known = await api.resources.send_settings.get_many(
                api.resources.database, wanted, clock()
            )
            await send(api.resources, known["sbr_1"], message, clock())
            assert receiver.refused == []

        await sent()
        answer = await api.http.post(f"{SECRET}/rotate", json={"overlap": 100})
        assert answer.headers["cache-control"] == "no-store"
        new = answer.json()["secret"]
        assert (await api.http.get(SECRET)).json() == {"secret": new}
        await sent()
        receiver.secrets = [new]
        await sent()
        clock.advance(100)
        await sent()
        by = [
            [verifies_with_secret(secret, request, clock()) for secret in (old, new)]
            for request in receiver.accepted
        ]
    assert by[1:] == [[True, True], [True, True], [False, True]]
    versions = await fetch(api.resources, "SELECT DISTINCT version FROM subscribers")
    assert versions == [{"version": 2}]


async def test_an_account_without_a_secret_rotates_to_its_first(api: Api) -> None:
    first = (await api.http.post(f"{SECRET}/rotate", json={"secret": GIVEN})).json()
    assert first == {"secret": GIVEN}
    assert await fetch(api.resources, "SELECT id FROM previous_signing_keys") == []


async def test_concurrent_rotations_of_the_accounts_secret_lose_no_key(
    api: Api, clock: Clock
) -> None:
    account = await account_of(api)
    await fetch(api.resources, FOR_CALLBACKS, "sbr_1", account, UNUSED_URL, clock())
    secrets = [(await api.http.get(SECRET)).json()["secret"]]
    calls = (api.http.post(f"{SECRET}/rotate") for _ in range(MAX_PREVIOUS_KEYS))
    secrets += [answer.json()["secret"] for answer in await asyncio.gather(*calls)]
    wanted = {"sbr_1": 1 + MAX_PREVIOUS_KEYS}
    known = await api.resources.send_settings.get_many(api.resources.database, wanted, clock())
    found = known["sbr_1"]
    assert found.version == 1 + MAX_PREVIOUS_KEYS
    assert {key.secret for key in found.keys} == {parse_whsec(secret) for secret in secrets}


async def test_the_jwks_needs_no_key_and_may_be_cached(api: Api) -> None:
    made = await api.subscribe(UNUSED_URL, signatures=["v1", "v1a"])
    await api.subscribe(UNUSED_URL)
    async with httpx.AsyncClient(base_url=api.http.base_url, trust_env=False, timeout=30) as http:
        answer = await http.get("/.well-known/jwks.json")
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.headers["content-type"] == "application/json"
        (key,) = answer.json()["keys"]
        assert key["kid"] == made["public_keys"][0]["kid"]
        assert (await http.get("/.well-known/jwks.json?kid=x")).status_code == 422
    await fetch(api.resources, "UPDATE subscribers SET signatures = '{v1}'")
    assert await published_keys(api) == []


async def test_the_newest_public_keys_are_listed(api: Api) -> None:
    await api.subscribe(UNUSED_URL, signatures=["v1", "v1a"])
    await fetch(api.resources, MANY, MAX_PUBLISHED_KEYS + 1)
    listed = await published_keys(api)
    assert len(listed) == MAX_PUBLISHED_KEYS
    order = "SELECT public_key FROM subscribers ORDER BY id DESC"
    public = [row["public_key"] for row in await fetch(api.resources, order)]
    assert listed == [jwk(key) for key in public[:MAX_PUBLISHED_KEYS]]
