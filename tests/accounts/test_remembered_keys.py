"""What was found of a key is remembered for a moment, and never for longer than a revocation may
take to count."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from service.accounts.cache.key_owners import LIFETIME, MAX_KEYS, KeyOwnerCache
from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.accounts.store.authentication import Caller, KeyOwner
from service.resources import Resources
from tests.support.access_tokens import access_token
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements
from tests.test_command_line import run

KEY_ID = "key_in_use"
A_SECOND = 1.0  # within it, a revoked key opens nothing any more
OWNER = KeyOwner(
    Caller(KEY_ID, "acc_1", "acme", frozenset(), "acme"),
    None,
    last_used_is_stale=False,
    expires_at=None,
)


class Seconds:
    """A monotonic clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def bearer(resources: Resources, kind: str, clock: Clock, life: str | None = None) -> str:
    """A credential of acme, by a new key of this kind."""
    if kind == "API key":
        return await api_keys.create(resources, "acme", DEFAULT_SCOPES, life, KEY_ID)
    pair = await api_keys.create_pair(resources, "acme", DEFAULT_SCOPES, life, KEY_ID)
    return access_token(pair.access_key, pair.secret_key, clock().timestamp())


async def status(api: Api, path: str, credential: str) -> int:
    answer = await api.http.get(path, headers={"authorization": f"Bearer {credential}"})
    return answer.status_code


KINDS = pytest.mark.parametrize("kind", ["API key", "key pair"])


@KINDS
async def test_a_key_in_use_opens_nothing_a_second_after_another_process_revoked_it(
    api: Api, clock: Clock, environ: dict[str, str], kind: str
) -> None:
    credential = await bearer(api.resources, kind, clock)
    revoking = asyncio.create_task(run(environ, "keys", "revoke", KEY_ID))
    while not revoking.done():
        await status(api, "/v1/subjects", credential)
    assert (await revoking).returncode == 0
    refused_from = time.monotonic() + A_SECOND
    answered = 200
    while answered == 200:
        sent_at = time.monotonic()
        answered = await status(api, "/v1/subjects", credential)
        assert answered == 401 or sent_at < refused_from
    assert answered == 401


@KINDS
async def test_a_remembered_key_is_refused_as_soon_as_it_expires(
    api: Api, clock: Clock, kind: str
) -> None:
    credential = await bearer(api.resources, kind, clock, "10m")
    assert await status(api, "/v1/subjects", credential) == 200
    clock.advance(599.9)
    if kind == "API key":  # a token by itself lasts no longer than that
        assert await status(api, "/v1/subjects", credential) == 200
    clock.advance(0.1)
    assert await status(api, "/v1/subjects", credential) == 401


@KINDS
async def test_a_remembered_key_permits_no_more_than_its_scopes(
    api: Api, clock: Clock, kind: str
) -> None:
    credential = await bearer(api.resources, kind, clock)
    assert await status(api, "/v1/subjects", credential) == 200
    assert await status(api, "/v1/callbacks", credential) == 403


def test_a_key_owner_is_forgotten_half_a_second_after_its_look_up_was_sent(clock: Clock) -> None:
    seconds = Seconds()
    cache = KeyOwnerCache(seconds)
    sent_at = cache.clock()
    seconds.now += LIFETIME - 0.1  # so long the look-up took
    cache.remember({b"digest": OWNER}, sent_at)
    assert cache.get(b"digest", clock) == OWNER
    assert cache.get(b"another", clock) is None
    seconds.now = sent_at + LIFETIME
    assert cache.get(b"digest", clock) is None


def test_a_key_owner_is_not_given_once_the_key_has_expired(clock: Clock) -> None:
    cache = KeyOwnerCache(Seconds())
    expiring = replace(OWNER, expires_at=clock() + timedelta(minutes=1))
    cache.remember({b"digest": expiring}, cache.clock())
    assert cache.get(b"digest", clock) == expiring
    clock.advance(60)
    assert cache.get(b"digest", clock) is None


def test_no_more_keys_are_remembered_than_the_bound(clock: Clock) -> None:
    cache = KeyOwnerCache(Seconds())
    cache.remember({b"%d" % number: OWNER for number in range(MAX_KEYS)}, cache.clock())
    assert cache.get(b"0", clock) == OWNER
    cache.remember({b"one more": OWNER}, cache.clock())
    assert cache.get(b"0", clock) is None
    assert cache.get(b"one more", clock) == OWNER


@KINDS
async def test_a_remembered_key_is_not_looked_up(api: Api, clock: Clock, kind: str) -> None:
    credential = await bearer(api.resources, kind, clock)
    counts = [await look_ups(api, credential, expected=200) for _ in range(2)]
    assert counts == [1, 0]


async def test_what_proves_nothing_is_looked_up_each_time(api: Api, clock: Clock) -> None:
    """So nobody fills the memory with it, and every refusal is as of now."""
    pair = await api_keys.create_pair(api.resources, "acme", DEFAULT_SCOPES)
    now = clock().timestamp()
    for wrong in ("csk_nobody", pair.access_key, access_token(pair.access_key, "css_wrong", now)):
        assert [await look_ups(api, wrong, expected=401) for _ in range(2)] == [1, 1]


async def look_ups(api: Api, credential: str, expected: int) -> int:
    """How often a request with this credential looks for a key."""
    with executed_statements() as statements:
        assert await status(api, "/v1/subjects", credential) == expected
    return sum("FROM api_keys" in statement for statement in statements)
