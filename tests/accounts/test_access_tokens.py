"""An access token is valid if the secret key signed it with HS256 and it is within its times."""

import base64
from typing import Any

import pytest

from service.accounts.domain import access_tokens
from service.kit.errors import EXPIRED, NOT_YET, Unauthorized
from tests.support.access_tokens import access_token, encoded_part, jwt

ACCESS, SECRET = "csa_somebody", "css_a secret of theirs"
NOW = 1_790_000_000.5


def flaw(text: str, secret: str = SECRET) -> Unauthorized | None:
    return access_tokens.token_error(access_tokens.parse(text), secret.encode(), NOW)


def good(**claims: object) -> str:
    return access_token(ACCESS, SECRET, NOW, **claims)


def test_a_token_as_the_provider_s_clients_make_it_is_good() -> None:
    assert flaw(good()) is None
    assert access_tokens.parse(good()).access_key == ACCESS
    assert flaw(good(nbf=None)) is None
    assert flaw(good(exp=NOW + 0.25, aud="somebody", iat=NOW, more={"a": [1]})) is None


@pytest.mark.parametrize(
    ("claims", "time"),
    [
        ({"exp": int(NOW)}, EXPIRED),
        ({"exp": NOW}, EXPIRED),
        ({"exp": -1}, EXPIRED),
        ({"nbf": NOW + 11}, NOT_YET),
        ({"nbf": 1e300}, NOT_YET),
        ({"exp": NOW + 3611}, None),
        ({"exp": 1e300}, None),
    ],
)
def test_an_early_or_expired_token_is_refused_with_its_reason(
    claims: dict[str, object], time: str | None
) -> None:
    found = flaw(good(**claims))
    assert found is not None
    assert found.time_error == time


def test_a_clock_may_be_a_little_ahead() -> None:
    assert flaw(good(nbf=NOW + 10, exp=NOW + 3610)) is None


def test_a_token_with_a_wrong_signature_is_refused_without_a_reason() -> None:
    for claims in ({}, {"exp": 1}, {"nbf": NOW + 60}):
        found = flaw(good(**claims), "css_another")
        assert found is not None
        assert (found.time_error, str(found)) == (None, str(Unauthorized()))


def test_any_change_of_a_token_invalidates_it() -> None:
    header, claims, signature = good().split(".")
    longer = encoded_part({"iss": ACCESS, "exp": NOW + 3000})
    spoilt = base64.urlsafe_b64encode(b"\0" * 32).decode().rstrip("=")
    for text in (
        f"{header}.{longer}.{signature}",
        f"{header}.{claims}.{spoilt}",
        f"{header}.{claims}.",
        f"{header}.{claims}.{signature[:-4]}",
        f"{encoded_part({'typ': 'JWT', 'alg': 'HS256'})}.{claims}.{signature}",
    ):
        assert flaw(text) is not None, text


CLAIMS: dict[str, Any] = {"iss": ACCESS, "exp": NOW + 60}
HEADER = {"alg": "HS256", "typ": "JWT"}
signed = jwt(SECRET, CLAIMS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        signed + ".",
        "." + signed,
        signed + "=",
        signed.replace(".", "=."),
        signed + "!",
        " " + signed,
        signed.replace(".", ".\n", 1),
        "é" + signed,
        f"{signed}{'A' * 4096}",
        signed.rpartition(".")[0],
        jwt(SECRET, CLAIMS, {"alg": "none"}),
        f"{encoded_part({'alg': 'none'})}.{encoded_part(CLAIMS)}.",
        jwt(SECRET, CLAIMS, {"alg": "HS512"}, "sha512"),
        jwt(SECRET, CLAIMS, {"alg": "HS512"}),
        jwt(SECRET, CLAIMS, {"alg": "RS256"}),
        jwt(SECRET, CLAIMS, {"alg": "hs256"}),
        jwt(SECRET, CLAIMS, {"alg": ["HS256"]}),
        jwt(SECRET, CLAIMS, {"typ": "JWT"}),
        jwt(SECRET, CLAIMS, HEADER | {"crit": ["b64"], "b64": False}),
        jwt(SECRET, CLAIMS, [HEADER]),
        jwt(SECRET, CLAIMS, b'{"alg":"HS256"'),
        jwt(SECRET, [CLAIMS]),
        jwt(SECRET, "claims"),
        jwt(SECRET, b"\xff"),
        jwt(SECRET, b"[" * 2000),
        jwt(SECRET, {"exp": NOW + 60}),
        jwt(SECRET, CLAIMS | {"iss": 7}),
        jwt(SECRET, CLAIMS | {"iss": None}),
        jwt(SECRET, CLAIMS | {"iss": "csa_é"}),
        jwt(SECRET, b'{"iss":"\\ud800","exp":9999999999}'),
        jwt(SECRET, {"iss": ACCESS}),
        jwt(SECRET, CLAIMS | {"exp": None}),
        jwt(SECRET, CLAIMS | {"exp": str(NOW + 60)}),
        jwt(SECRET, CLAIMS | {"exp": True}),
        jwt(SECRET, b'{"iss":"csa_somebody","exp":NaN}'),
        jwt(SECRET, b'{"iss":"csa_somebody","exp":1e999}'),
        jwt(SECRET, CLAIMS | {"nbf": None}),
        jwt(SECRET, CLAIMS | {"nbf": "now"}),
        jwt(SECRET, CLAIMS | {"nbf": False}),
    ],
)
def test_what_is_no_token_is_refused_as_it_is_read(text: str) -> None:
    with pytest.raises(Unauthorized):
        access_tokens.parse(text)
