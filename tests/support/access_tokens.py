"""JWTs as clients of the provider make them, written from rule P41 alone."""

import base64
import hmac
import json


def encoded_part(members: object) -> str:
    """One part of a JWT: the JSON of an object, or these bytes, in base64url."""
    raw = members if isinstance(members, bytes) else json.dumps(members).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwt(secret_key: str, claims: object, header: object = None, digest: str = "sha256") -> str:
    """A JWT; its header says HS256 unless another is given."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = f"{encoded_part(head)}.{encoded_part(claims)}"
    return (
        f"{signed}.{encoded_part(hmac.new(secret_key.encode(), signed.encode(), digest).digest())}"
    )


def access_token(access_key: str, secret_key: str, now: float, **claims: object) -> str:
    """A JWT valid from five seconds ago for half an hour; a claim of None is left out."""
    defaults = {"iss": access_key, "exp": int(now) + 1800, "nbf": int(now) - 5}
    return jwt(secret_key, {k: v for k, v in (defaults | claims).items() if v is not None})
