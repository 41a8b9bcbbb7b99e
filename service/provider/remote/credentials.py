"""Signing in at the provider: an API key, or a JWT signed with a secret key.

Both ways are in service/provider/README.md, rules P40 to P42.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service.kit.text import encode_base64url

TOKEN_LIFETIME = 1800  # seconds; rule P41
NOT_BEFORE_LEEWAY = 5  # seconds that a token is valid before now; rule P41
RENEWAL_MARGIN = 300  # seconds before its end from which a token is not used any more


@dataclass(frozen=True, slots=True)
class ProviderApiKey:
    """An API key, sent as it is (rule P40); raises ValueError if no header may hold it."""

    key: str = field(repr=False)  # visible ASCII

    def __post_init__(self) -> None:
        _check_header_safe("an API key", self.key)


@dataclass(frozen=True, slots=True)
class ProviderKeyPair:
    """A pair of keys for JWTs (rule P41); raises ValueError unless they are visible ASCII."""

    access_key: str  # names us
    secret_key: str = field(repr=False)  # signs

    def __post_init__(self) -> None:
        _check_header_safe("an access key", self.access_key)
        _check_header_safe("a secret key", self.secret_key)


def _check_header_safe(name: str, value: str) -> None:
    """Refuse what would break a header, and then stand in the error about it."""
    if not (value.isascii() and value.isprintable() and value and " " not in value):
        msg = f"{name} must be visible ASCII characters"
        raise ValueError(msg)


class BearerToken:
    """The token behind `Authorization: Bearer`: the API key, or a JWT that is renewed in time."""

    def __init__(
        self, credentials: ProviderApiKey | ProviderKeyPair, clock: Callable[[], datetime]
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._jwt = ""
        self._renew_at = 0.0  # Unix seconds

    def value(self) -> str:
        """A token that is valid for some minutes more."""
        if isinstance(self._credentials, ProviderApiKey):
            return self._credentials.key
        now = self._clock().timestamp()
        if now >= self._renew_at:
            self._jwt = mint_jwt(self._credentials, int(now))
            self._renew_at = now + TOKEN_LIFETIME - RENEWAL_MARGIN
        return self._jwt

    def redact(self, text: str) -> str:
        """Replace our keys and our token in a text by ***, as an answer may repeat them."""
        if isinstance(self._credentials, ProviderApiKey):
            secrets = [self._credentials.key]
        else:
            pair = self._credentials
            secrets = [self._jwt, pair.secret_key, pair.access_key]
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return text

    def renew(self, refused: str) -> str | None:
        """Mint a token in place of a `refused` one (rule P42); None for an API key.

        Several calls may be refused at once: the first mints for all of them.
        """
        if isinstance(self._credentials, ProviderApiKey):
            return None
        if self._jwt == refused:
            self._renew_at = 0.0
        return self.value()


def mint_jwt(pair: ProviderKeyPair, now: int) -> str:
    """Make a JWT (RFC 7519, HS256) with the claims of rule P41; `now` in Unix seconds."""
    header = _encode_part({"alg": "HS256", "typ": "JWT"})
    claims = _encode_part(
        {"iss": pair.access_key, "exp": now + TOKEN_LIFETIME, "nbf": now - NOT_BEFORE_LEEWAY}
    )
    signed = f"{header}.{claims}"
    mac = hmac.digest(pair.secret_key.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{encode_base64url(mac)}"


def _encode_part(members: Mapping[str, object]) -> str:
    return encode_base64url(json.dumps(members, separators=(",", ":")).encode())
