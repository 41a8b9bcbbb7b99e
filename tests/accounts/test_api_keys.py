"""API keys: shown once, stored as a hash, valid for their scopes until expired or revoked."""

from datetime import timedelta

import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys, authenticate
from service.accounts.store.authentication import Caller
from service.kit.errors import Invalid, NotFound
from service.resources import Resources
from tests.support.clock import Clock
from tests.support.database import fetch


async def caller(resources: Resources, key: str) -> Caller | None:
    (found,) = await authenticate.authenticate_batch(resources, [authenticate.key_digest(key)])
    return found if isinstance(found, Caller) else None


async def test_a_key_authenticates_its_account_with_its_scopes(resources: Resources) -> None:
    key = await api_keys.create(resources, "acme", ["subjects:read", "subjects:read", "operator"])
    found = await caller(resources, key)
    assert found is not None
    assert found.account_name == "acme"
    assert found.scopes == {"subjects:read", "operator"}
    assert await caller(resources, key + "x") is None


async def test_an_account_may_have_several_keys(resources: Resources) -> None:
    found = [
        await caller(resources, await api_keys.create(resources, "acme", DEFAULT_SCOPES))
        for _ in range(2)
    ]
    assert len({caller.account_id for caller in found if caller}) == 1
    assert len({caller.key_id for caller in found if caller}) == 2


async def test_the_key_itself_is_not_kept(resources: Resources) -> None:
    key = await api_keys.create(resources, "acme", DEFAULT_SCOPES)
    (row,) = await fetch(resources, "SELECT * FROM api_keys")
    assert key not in str(row)
    assert key.startswith(row["prefix"])
    assert len(row["prefix"]) < 16


async def test_an_expired_key_is_refused(resources: Resources, clock: Clock) -> None:
    key = await api_keys.create(resources, "acme", DEFAULT_SCOPES, "1h")
    for seconds, state in ((0, "active"), (3599.999, "active"), (0.001, "expired")):
        clock.advance(seconds)
        assert (await caller(resources, key) is None) == (state == "expired")
        (listed,) = await api_keys.list_keys(resources)
        assert listed.state == state


@pytest.mark.parametrize(
    ("text", "life"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("45", timedelta(seconds=45)),
        ("3650d", api_keys.MAX_LIFETIME),
        (None, None),
    ],
)
async def test_a_key_lasts_as_long_as_is_said(
    resources: Resources, clock: Clock, text: str | None, life: timedelta | None
) -> None:
    await api_keys.create(resources, "acme", DEFAULT_SCOPES, text)
    (listed,) = await api_keys.list_keys(resources)
    assert listed.key.expires_at == (None if life is None else clock() + life)


async def test_keys_are_rotated_without_a_gap(resources: Resources) -> None:
    old, new = [await api_keys.create(resources, "acme", DEFAULT_SCOPES) for _ in range(2)]
    assert await caller(resources, old) is not None
    assert await caller(resources, new) is not None
    first = next(
        listed
        for listed in await api_keys.list_keys(resources)
        if old.startswith(listed.key.prefix)
    )
    await api_keys.revoke(resources, first.key.id)
    assert await caller(resources, old) is None
    assert await caller(resources, new) is not None


async def test_a_key_stays_revoked_since_the_first_time(resources: Resources, clock: Clock) -> None:
    await api_keys.create(resources, "acme", DEFAULT_SCOPES, "1h")
    (listed,) = await api_keys.list_keys(resources)
    at = clock()
    for _ in range(2):
        revoked = await api_keys.revoke(resources, listed.key.id)
        assert (revoked.state, revoked.key.revoked_at) == ("revoked", at)
        clock.advance(7200)
    with pytest.raises(NotFound):
        await api_keys.revoke(resources, "key_none")


async def test_keys_are_listed_the_oldest_first_and_by_their_account(
    resources: Resources, clock: Clock
) -> None:
    made = []
    for account in ("acme", "other", "acme"):
        made.append(await api_keys.create(resources, account, ["operator"]))
        clock.advance(1)
    await caller(resources, made[1])
    found = await api_keys.list_keys(resources)
    assert [listed.key.account_name for listed in found] == ["acme", "other", "acme"]
    assert [listed.key.prefix for listed in found] == [key[:12] for key in made]
    assert [listed.key.last_used_at for listed in found] == [None, clock(), None]
    assert [listed.key.scopes for listed in found] == [["operator"]] * 3
    assert await api_keys.list_keys(resources, "acme") == [found[0], found[2]]
    assert await api_keys.list_keys(resources, "nobody") == []
    assert not any(key in str(found) for key in made)


async def test_the_last_use_of_a_key_is_known_to_the_minute(
    resources: Resources, clock: Clock
) -> None:
    key = await api_keys.create(resources, "acme", DEFAULT_SCOPES)
    first = clock()
    await caller(resources, key)
    clock.advance(60)
    await caller(resources, key)
    (row,) = await fetch(resources, "SELECT last_used_at FROM api_keys")
    assert row["last_used_at"] == first, "no write on every request"
    clock.advance(1)
    await caller(resources, key)
    (row,) = await fetch(resources, "SELECT last_used_at FROM api_keys")
    assert row["last_used_at"] == clock()


@pytest.mark.parametrize(
    ("account", "scopes", "expires_in", "codes"),
    [
        ("acme", ["subjects:eat"], None, {"unknown_scope"}),
        ("acme", [], None, {"scopes"}),
        ("", ["operator"], None, {"account"}),
        ("a" * 101, ["operator"], None, {"account"}),
        ("a\nb", ["nothing", "operator"], "never", {"account", "unknown_scope", "expires_in"}),
        ("acme", ["operator"], "0", {"expires_in"}),
        ("acme", ["operator"], "-1d", {"expires_in"}),
        ("acme", ["operator"], "3651d", {"expires_in"}),
        ("acme", ["operator"], "", {"expires_in"}),
    ],
)
async def test_an_invalid_key_request_names_every_error(
    resources: Resources, account: str, scopes: list[str], expires_in: str | None, codes: set[str]
) -> None:
    with pytest.raises(Invalid) as caught:
        await api_keys.create(resources, account, scopes, expires_in)
    assert {error.code for error in caught.value.errors} == codes
    assert await api_keys.list_keys(resources) == []
