"""Keys for callers: shown once, kept as a hash, good for their scopes as long as they last."""

import hashlib
from datetime import timedelta

import pytest

from service.core.errors import Invalid
from service.steps import keys
from service.steps.resources import Resources
from service.store import accounts
from service.store.accounts import Caller
from tests.calling import fetch
from tests.conftest import Clock


async def caller(resources: Resources, key: str) -> Caller | None:
    digest = hashlib.sha256(key.encode()).digest()
    async with resources.database.glance() as tx:
        return await accounts.by_key(tx, digest, resources.clock())


async def test_a_key_opens_its_account_for_its_scopes(resources: Resources) -> None:
    key = await keys.create(resources, "acme", ["subjects:read", "subjects:read", "operator"])
    found = await caller(resources, key)
    assert found is not None
    assert found.account_name == "acme"
    assert found.scopes == {"subjects:read", "operator"}
    assert await caller(resources, key + "x") is None


async def test_an_account_may_have_several_keys(resources: Resources) -> None:
    found = [
        await caller(resources, await keys.create(resources, "acme", keys.DEFAULT_SCOPES))
        for _ in range(2)
    ]
    assert len({one.account_id for one in found if one}) == 1
    assert len({one.key_id for one in found if one}) == 2


async def test_the_key_itself_is_not_kept(resources: Resources) -> None:
    key = await keys.create(resources, "acme", keys.DEFAULT_SCOPES)
    (row,) = await fetch(resources, "SELECT * FROM api_keys")
    assert key not in str(row)
    assert key.startswith(row["prefix"])
    assert len(row["prefix"]) < 16


async def test_a_revoked_or_expired_key_opens_nothing(resources: Resources, clock: Clock) -> None:
    key = await keys.create(resources, "acme", keys.DEFAULT_SCOPES)
    until = clock() + timedelta(hours=1)
    await fetch(resources, "UPDATE api_keys SET expires_at = $1", until)
    assert await caller(resources, key) is not None
    clock.pass_by(3600)
    assert await caller(resources, key) is None
    await fetch(resources, "UPDATE api_keys SET expires_at = NULL, revoked_at = $1", clock())
    assert await caller(resources, key) is None


async def test_its_last_use_is_known_to_the_minute(resources: Resources, clock: Clock) -> None:
    key = await keys.create(resources, "acme", keys.DEFAULT_SCOPES)
    first = clock()
    await caller(resources, key)
    clock.pass_by(60)
    await caller(resources, key)
    (row,) = await fetch(resources, "SELECT last_used_at FROM api_keys")
    assert row["last_used_at"] == first, "no write on every request"
    clock.pass_by(1)
    await caller(resources, key)
    (row,) = await fetch(resources, "SELECT last_used_at FROM api_keys")
    assert row["last_used_at"] == clock()


@pytest.mark.parametrize(
    ("account", "scopes", "codes"),
    [
        ("acme", ["subjects:eat"], {"unknown_scope"}),
        ("acme", [], {"scopes"}),
        ("", ["operator"], {"account"}),
        ("a" * 101, ["operator"], {"account"}),
        ("a\nb", ["nothing", "operator"], {"account", "unknown_scope"}),
    ],
)
async def test_a_key_that_cannot_be_made_says_why(
    resources: Resources, account: str, scopes: list[str], codes: set[str]
) -> None:
    with pytest.raises(Invalid) as caught:
        await keys.create(resources, account, scopes)
    assert {one.code for one in caught.value.findings} == codes
