"""Tokens that clients sign with the secret key of a pair: JWT (RFC 7519), HS256 (RFC 7518, 3.2), in
the compact form (RFC 7515, 7.1)."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.kit.errors import EXPIRED, NOT_YET, Unauthorized
from service.kit.text import decode_base64url

ALGORITHM = "HS256"
MAX_LENGTH = 4096  # characters; a token with the three claims has about 200
MAX_LIFETIME = 3600  # seconds that a token is good for at most, from now on; ours
CLOCK_LEEWAY = 10  # seconds by which a client's clock may be ahead of ours; ours


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """What a token says, which is not believed before `flaw` finds none. Times in Unix seconds."""

    access_key: str
    expires_at: float
    not_before: float | None
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def is_access_token(text: str) -> bool:
    """Whether this is a token, good or not, rather than a key: no key has a dot in it."""
    return "." in text


def parse(text: str) -> UnverifiedToken:
    """A token as it was sent; Unauthorized if it is none, or not signed with HS256."""
    if len(text) > MAX_LENGTH or not text.isascii():
        raise Unauthorized(f"a token has at most {MAX_LENGTH} characters, of ASCII")
    parts = text.split(".")
    try:
        header, claims, signature = map(decode_base64url, parts)
        return _token(
            _json_object(header), _json_object(claims), text.rpartition(".")[0], signature
        )
    except ValueError:
        raise Unauthorized("this is no token that is signed with HS256") from None


def token_error(token: UnverifiedToken, secret: bytes, now: float) -> Unauthorized | None:
    """Why the token is not good at this time, in Unix seconds; None if it is. Of one that is not
    signed with this secret no more is said."""
    mac = hmac.digest(secret, token.signing_input, hashlib.sha256)
    if not hmac.compare_digest(mac, token.signature):
        return Unauthorized()
    if token.not_before is not None and now + CLOCK_LEEWAY < token.not_before:
        return Unauthorized("this token is not valid yet: see nbf", NOT_YET)
    if now >= token.expires_at:
        return Unauthorized("this token has expired: see exp", EXPIRED)
    if token.expires_at > now + MAX_LIFETIME + CLOCK_LEEWAY:
        return Unauthorized(f"exp must be within {MAX_LIFETIME} seconds from now")
    return None


def _token(
    header: Mapping[str, Any], claims: Mapping[str, Any], signed: str, signature: bytes
) -> UnverifiedToken:
    """ValueError if a member is missing, or not what it should be."""
    # What stands in `crit` must be understood (RFC 7515, 4.1.11), and nothing is here.
    if header.get("alg") != ALGORITHM or "crit" in header:
        raise ValueError
    access_key = claims.get("iss")
    if not (isinstance(access_key, str) and access_key.isascii()):
        raise ValueError
    not_before = _numeric_date(claims["nbf"]) if "nbf" in claims else None
    expires = _numeric_date(claims.get("exp"))
    return UnverifiedToken(access_key, expires, not_before, signed.encode(), signature)


def _numeric_date(value: object) -> float:
    """A NumericDate (RFC 7519, 2)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError  # noqa: TRY004 - it is bad input
    return float(value)


def _json_object(part: bytes) -> dict[str, Any]:
    found = orjson.loads(part)
    if not isinstance(found, dict):
        raise ValueError  # noqa: TRY004 - it is bad input
    return found
