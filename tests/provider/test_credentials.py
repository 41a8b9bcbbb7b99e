"""API keys and JWTs: what is sent, when a token is renewed, and that no secret shows."""

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest

from service.provider.remote.credentials import ProviderApiKey, ProviderKeyPair
from service.provider.remote.outcomes import ProviderStopped, TaskAccepted
from tests.support.clock import Clock
from tests.support.provider_client import CREATE_BODY, CREATED, KEY_PAIR, NOW, provider_client
from tests.support.raw_servers import envelope_response

CLOSING = "connection: close\r\n"  # as a script does after its answer


def claims_of(authorization: str) -> dict[str, Any]:
    """The claims of a JWT whose header and signature are right."""
    scheme, _, token = authorization.partition(" ")
    signed, _, mac = token.rpartition(".")
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split(".")
    )
    assert (scheme, header) == ("Bearer", {"alg": "HS256", "typ": "JWT"})
    expected = hmac.digest(KEY_PAIR.secret_key.encode(), signed.encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(mac + "==") == expected
    assert "=" not in token
    assert isinstance(claims, dict)
    return claims


async def test_a_pair_of_keys_signs_a_token_and_keeps_it_until_shortly_before_its_end() -> None:
    clock = Clock(NOW)
    second = int(NOW.timestamp())
    async with provider_client(CREATED, credentials=KEY_PAIR, clock=clock) as (provider, server):
        for seconds in (0, 1499, 1500):
            clock.now = NOW + timedelta(seconds=seconds)
            await provider.create(CREATE_BODY)
    first, again, fresh = (
        claims_of(request.headers["authorization"]) for request in server.requests
    )
    assert first == {"iss": "access", "exp": second + 1800, "nbf": second - 5}
    assert again == first
    assert fresh["exp"] == second + 1500 + 1800


@pytest.mark.parametrize("code", [1003, 1004])
async def test_a_refused_token_is_minted_anew_once(code: int) -> None:
    clock = Clock(NOW)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock.now += timedelta(seconds=1)
        writer.write(envelope_response(code, "token", status=401, headers=CLOSING))

    async with provider_client(refuse, CREATED, credentials=KEY_PAIR, clock=clock) as (
        provider,
        server,
    ):
        assert isinstance(await provider.create(CREATE_BODY), TaskAccepted)
        first, second = (claims_of(request.headers["authorization"]) for request in server.requests)
        assert second["exp"] == first["exp"] + 1
    refused = envelope_response(code, "token", status=401)
    async with provider_client(refused, credentials=KEY_PAIR) as (provider, server):
        assert await provider.create(CREATE_BODY) == ProviderStopped(code, "token")
        assert len(server.requests) == 2


async def test_calls_refused_together_share_the_new_token() -> None:
    clock = Clock(NOW)
    arrived = asyncio.Barrier(2)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrived.wait()
        writer.write(envelope_response(1004, "expired", status=401, headers=CLOSING))
        clock.now += timedelta(seconds=1)

    answers = (refuse, refuse, CREATED)
    async with provider_client(*answers, credentials=KEY_PAIR, clock=clock) as (provider, server):
        outcomes = await asyncio.gather(provider.create(CREATE_BODY), provider.create(CREATE_BODY))
    assert {type(outcome) for outcome in outcomes} == {TaskAccepted}
    tokens = [request.headers["authorization"] for request in server.requests]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]


async def test_an_api_key_that_is_refused_is_not_tried_again() -> None:
    async with provider_client(envelope_response(1004, "expired", status=401)) as (
        provider,
        server,
    ):
        assert await provider.create(CREATE_BODY) == ProviderStopped(1004, "expired")
        assert len(server.requests) == 1


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", "sch\xf6n", "\udcff"])
def test_a_key_that_would_break_a_header_is_refused_unrepeated(bad: str) -> None:
    for make in (
        ProviderApiKey,
        lambda key: ProviderKeyPair(key, "s"),
        lambda key: ProviderKeyPair("a", key),
    ):
        with pytest.raises(ValueError, match="visible ASCII") as raised:
            make(bad)
        assert not bad or bad not in str(raised.value)


def test_secrets_do_not_show() -> None:
    shown = repr(ProviderApiKey("sk-secret")) + repr(ProviderKeyPair("access", "hidden"))
    assert "sk-secret" not in shown
    assert "hidden" not in shown
