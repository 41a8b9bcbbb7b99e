"""Callers' keys: made, listed, revoked. A key is shown once; only its hash is kept, and of a pair,
whose secret key signs, that one sealed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.accounts.steps.authenticate import key_digest
from service.accounts.store import api_keys
from service.accounts.store.api_keys import ApiKey
from service.accounts.store.authentication import OPERATOR
from service.kit.crypto.encryption import encryption_context
from service.kit.errors import FieldError, Invalid, NotFound
from service.kit.text import encode_base64url
from service.kit.timestamps import parse_duration
from service.resources import Resources

KEY_BYTES = 32
ACCESS_KEY_BYTES = 16
API_KEY_PREFIX = "csk_"
ACCESS_KEY_PREFIX, SECRET_KEY_PREFIX = "csa_", "css_"  # of a pair
SHOWN_PREFIX_LENGTH = 12  # characters that a key is known by
DEFAULT_SCOPES = ("subjects:read", "subjects:write", "subscribers")
SCOPES = (*DEFAULT_SCOPES, OPERATOR)
MAX_ACCOUNT_NAME = 100
MAX_LIFETIME = timedelta(days=3650)  # of a key that is to expire at all; ours


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An access key, which names its account, and the secret key that signs tokens in its place."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKeyView:
    """A key without the key; `state` is active, expired or revoked."""

    key: ApiKey
    state: str


async def create(
    resources: Resources,
    account: str,
    scopes: Sequence[str],
    expires_in: str | None = None,
    key_id: str | None = None,
) -> str:
    """A new key of this account, which is made if there is none; it opens nothing any more once
    `expires_in` is over, a time as 90d or 12h. Its id is `key_id`, or a new one. Invalid says all
    that is wrong."""
    key = API_KEY_PREFIX + encode_base64url(resources.random_bytes(KEY_BYTES))
    await _add(resources, account, scopes, expires_in, key_id, key)
    return key


async def create_pair(
    resources: Resources,
    account: str,
    scopes: Sequence[str],
    expires_in: str | None = None,
    key_id: str | None = None,
) -> KeyPair:
    """A new pair of this account, in all else like a key."""
    access_key = ACCESS_KEY_PREFIX + encode_base64url(resources.random_bytes(ACCESS_KEY_BYTES))
    secret_key = SECRET_KEY_PREFIX + encode_base64url(resources.random_bytes(KEY_BYTES))
    await _add(resources, account, scopes, expires_in, key_id, access_key, secret_key)
    return KeyPair(access_key, secret_key)


async def _add(  # noqa: PLR0913, PLR0917 - a key is all of this
    resources: Resources,
    account: str,
    scopes: Sequence[str],
    expires_in: str | None,
    key_id: str | None,
    key: str,
    secret_key: str | None = None,
) -> None:
    errors = [*_scope_errors(scopes)]
    if not 0 < len(account) <= MAX_ACCOUNT_NAME or not account.isprintable():
        rule = f"the account's name has 1 to {MAX_ACCOUNT_NAME} printable characters"
        errors.append(FieldError("/account", "account", rule))
    now = resources.clock()
    expires_at = _expires_at(expires_in, now, errors)
    if errors:
        raise Invalid(errors)
    key_id, sealed = key_id or resources.new_id("key"), None
    if secret_key is not None:
        sealed = resources.encryptor.encrypt(secret_key.encode(), encryption_context(key_id))
    async with resources.database.transaction() as tx:
        account_id = await api_keys.ensure_account(
            tx, account_id=resources.new_id("acc"), name=account, now=now
        )
        await api_keys.add(
            tx,
            key_id=key_id,
            account_id=account_id,
            digest=key_digest(key),
            prefix=key[:SHOWN_PREFIX_LENGTH],
            scopes=list(dict.fromkeys(scopes)),
            now=now,
            expires_at=expires_at,
            secret=sealed,
        )


async def list_keys(resources: Resources, account: str | None = None) -> list[ApiKeyView]:
    """Every key that there ever was, the oldest first; or those of the account of this name, which
    may have none."""
    async with resources.database.autocommit() as tx:
        found = await api_keys.list_keys(tx, account)
    return [_view(one, resources.clock()) for one in found]


async def revoke(resources: Resources, key_id: str) -> ApiKeyView:
    """It opens nothing any more, in any process, from the next request on; also if it was revoked
    before. NotFound if there is none of this id."""
    async with resources.database.transaction() as tx:
        await api_keys.revoke(tx, key_id, resources.clock())
        found = await api_keys.get(tx, key_id)
    if found is None:
        raise NotFound("there is no key of this id; see: callsheet keys list")
    return _view(found, resources.clock())


def _scope_errors(scopes: Sequence[str]) -> list[FieldError]:
    if not scopes:
        return [FieldError("/scopes", "scopes", "give at least one scope")]
    return [
        FieldError("/scopes", "unknown_scope", f"{scope!r} is not a scope: {', '.join(SCOPES)}")
        for scope in scopes
        if scope not in SCOPES
    ]


def _expires_at(text: str | None, now: datetime, errors: list[FieldError]) -> datetime | None:
    if text is None:
        return None
    try:
        return now + timedelta(seconds=parse_duration(text, MAX_LIFETIME.total_seconds()))
    except ValueError:
        rule = f"a key may last for a time as 90d, 12h or 30m, up to {MAX_LIFETIME.days}d"
        errors.append(FieldError("/expires_in", "expires_in", rule))
        return None


def _view(key: ApiKey, now: datetime) -> ApiKeyView:
    if key.revoked_at is not None:
        return ApiKeyView(key, "revoked")
    expired = key.expires_at is not None and key.expires_at <= now
    return ApiKeyView(key, "expired" if expired else "active")
