"""Access tokens that clients sign with the secret key of a key pair: JWT (RFC 7519), HS256 (RFC
7518, 3.2), in the compact form (RFC 7515, 7.1)."""

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
MAX_LIFETIME = 3600  # seconds from now until a token expires at most; our own rule
CLOCK_LEEWAY = 10  # seconds by which a client's clock may be ahead of ours; our own rule


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """The claims of an access token, not to be trusted before `token_error` gives None."""

    access_key: str  # the claim iss
    expires_at: float  # the claim exp, in Unix seconds
    not_before: float | None  # the claim nbf, in Unix seconds; None: valid at once
    signing_input: bytes = field(repr=False)  # header and claims as they were sent
    signature: bytes = field(repr=False)  # HMAC-SHA256 of the signing input, not checked yet


def is_access_token(text: str) -> bool:
    """Whether a bearer credential is an access token, good or not: no API key has a dot in it."""
    return "." in text


def parse(text: str) -> UnverifiedToken:
    """The claims of an access token. Unauthorized if it is malformed or not signed with HS256."""
    if len(text) > MAX_LENGTH or not text.isascii():
        raise Unauthorized(f"An access token has at most {MAX_LENGTH} ASCII characters.")
    signing_input, _, _ = text.rpartition(".")
    try:
        header, claims, signature = map(decode_base64url, text.split("."))
        _check_header(_json_object(header))
        return _token(_json_object(claims), signing_input.encode(), signature)
    except ValueError:
        raise Unauthorized("The access token is not a JWT signed with HS256.") from None


def token_error(token: UnverifiedToken, secret: bytes, now: float) -> Unauthorized | None:
    """Why an access token is refused at `now` (Unix seconds); None if it is valid.

    A token that is not signed with `secret` gets no reason: its claims are not to be commented on.
    """
    mac = hmac.digest(secret, token.signing_input, hashlib.sha256)
    if not hmac.compare_digest(mac, token.signature):
        return Unauthorized()
    if token.not_before is not None and now + CLOCK_LEEWAY < token.not_before:
        return Unauthorized("The access token is not valid yet: see its claim nbf.", NOT_YET)
    if now >= token.expires_at:
        return Unauthorized("The access token has expired: see its claim exp.", EXPIRED)
    if token.expires_at > now + MAX_LIFETIME + CLOCK_LEEWAY:
        return Unauthorized(f"The claim exp must be within {MAX_LIFETIME} seconds from now.")
    return None


def _check_header(header: Mapping[str, Any]) -> None:
    # What stands in `crit` must be understood (RFC 7515, 4.1.11), and nothing is here.
    if header.get("alg") != ALGORITHM or "crit" in header:
        raise ValueError


def _token(claims: Mapping[str, Any], signing_input: bytes, signature: bytes) -> UnverifiedToken:
    """ValueError if a claim is missing or malformed."""
    access_key = claims.get("iss")
    if not (isinstance(access_key, str) and access_key.isascii()):
        raise ValueError
    not_before = _numeric_date(claims["nbf"]) if "nbf" in claims else None
    expires_at = _numeric_date(claims.get("exp"))
    return UnverifiedToken(access_key, expires_at, not_before, signing_input, signature)


def _numeric_date(value: object) -> float:
    """A NumericDate (RFC 7519, 2), in Unix seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError  # noqa: TRY004 - it is bad input
    return float(value)


def _json_object(part: bytes) -> dict[str, Any]:
    value = orjson.loads(part)
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004 - it is bad input
    return value
