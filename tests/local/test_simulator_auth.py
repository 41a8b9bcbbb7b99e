"""Who may call the provider."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from service.local.simulator import Options
from service.local.simulator.auth import check
from service.local.simulator.codes import Refusal
from tests.support.simulator import ACCESS_KEY, API_KEY, PATH, SECRET_KEY, simulator

OPTIONS = Options(api_key=API_KEY, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
NOW = 1_790_000_000.0


def token(secret: str = SECRET_KEY, alg: str = "HS256", **claims: object) -> str:
    """A JWT as rule P41 has it, with changed claims."""
    given = {"iss": ACCESS_KEY, "exp": NOW + 1800, "nbf": NOW - 5, **claims}
    parts = [_encode(json.dumps(part).encode()) for part in ({"alg": alg, "typ": "JWT"}, given)]
    signed = ".".join(parts)
    return f"{signed}.{_encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("header", [f"Bearer {API_KEY}", f"bearer {API_KEY}", f"Bearer {token()}"])
def test_the_api_key_and_a_minted_token_are_let_in(header: str) -> None:
    check(header, OPTIONS, NOW)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        ("", 1001),
        (API_KEY, 1000),
        (f"Basic {API_KEY}", 1000),
        ("Bearer another", 1002),
        ("Bearer a.b.c", 1002),
        ("Bearer é.b.c", 1002),
        (f"Bearer {token(iss='somebody')}", 1002),
        (f"Bearer {token(alg='none')}", 1002),
        (f"Bearer {token(exp='soon')}", 1002),
        (f"Bearer {token(secret='another')}", 1000),
        (f"Bearer {token(nbf=NOW + 1)}", 1003),
        (f"Bearer {token(exp=NOW)}", 1004),
    ],
)
def test_everything_else_is_refused_with_its_code(header: str | None, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        check(header, OPTIONS, NOW)
    assert refused.value.code == code
    assert refused.value.status == 401


def test_without_an_access_key_no_token_is_taken() -> None:
    with pytest.raises(Refusal) as refused:
        check(f"Bearer {token()}", Options(api_key=API_KEY), NOW)
    assert refused.value.code == 1002


async def test_every_call_needs_it() -> None:
    async with simulator() as remote:
        del remote.http.headers["authorization"]
        answers = [await remote.create(), await remote.query("x"), await remote.http.get(PATH)]
        minted = token(exp=time.time() + 60, nbf=time.time() - 5)
        let_in = await remote.http.get(PATH, headers={"authorization": f"Bearer {minted}"})
    assert [(response.status_code, response.json()["code"]) for response in answers] == [
        (401, 1001)
    ] * 3
    assert let_in.status_code == 200
