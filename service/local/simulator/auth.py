"""Authentication: the API key, or a JWT signed with the secret key (rules P40, P41)."""

import base64
import hashlib
import hmac

import orjson

from service.local.simulator.codes import Refusal
from service.local.simulator.options import Options


def check(authorization: str | None, options: Options, now: float) -> None:
    """Raise Refusal 1000 to 1004 unless the header holds a key or JWT that is valid at `now` (Unix
    seconds)."""
    if not authorization:
        raise Refusal(1001)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(1000)
    if hmac.compare_digest(token.encode(), options.api_key.encode()):
        return
    if options.access_key and options.secret_key and token.count(".") == 2:  # noqa: PLR2004 — RFC 7515
        _check_jwt(token, options.access_key, options.secret_key, now)
        return
    raise Refusal(1002)


def _check_jwt(token: str, access_key: str, secret_key: str, now: float) -> None:
    signed, _, signature = token.rpartition(".")
    expected = hmac.digest(secret_key.encode(), signed.encode(), hashlib.sha256)
    try:
        header, claims = (orjson.loads(_decode(part)) for part in signed.split("."))
        good = hmac.compare_digest(expected, _decode(signature))
        algorithm, issuer = header["alg"], claims["iss"]
        not_before, expires = float(claims["nbf"]), float(claims["exp"])
    except (ValueError, TypeError, KeyError):
        raise Refusal(1002) from None
    if algorithm != "HS256" or issuer != access_key:
        raise Refusal(1002)
    if not good:
        raise Refusal(1000)
    if now < not_before:
        raise Refusal(1003)
    if now >= expires:
        raise Refusal(1004)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
