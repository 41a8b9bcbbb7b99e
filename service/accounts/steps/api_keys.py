"""API keys and key pairs of accounts: create, list, revoke; their scopes and expiry.

A key is shown once. Only its hash is stored, and of a key pair the encrypted secret key beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import action_log
from service.accounts.steps.authenticate import key_digest
from service.accounts.store import api_keys
from service.accounts.store.api_keys import ApiKey
from service.kit.crypto.encryption import encryption_context
from service.kit.errors import FieldError, Invalid, NotFound
from service.kit.text import encode_base64url
from service.kit.timestamps import format_rfc3339, parse_duration
from service.resources import Resources

log = structlog.get_logger()

KEY_BYTES = 32
ACCESS_KEY_BYTES = 16
API_KEY_PREFIX = "csk_"
ACCESS_KEY_PREFIX, SECRET_KEY_PREFIX = "csa_", "css_"  # of a key pair
SHOWN_PREFIX_LENGTH = 12  # characters of a key that lists show
MAX_ACCOUNT_NAME = 100  # characters; and so many of a key's name
MAX_LIFETIME = timedelta(days=3650)  # of a key that expires at all; our own rule


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Two keys of an account, for clients that send access tokens in place of an API key."""

    access_key: str  # names the account; the claim iss of every token
    secret_key: str = field(repr=False)  # signs the tokens


class ApiKeyState(StrEnum):
    """Whether an API key is accepted."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApiKeyView:
    """An API key as lists show it, without the key itself."""

    key: ApiKey  # what is stored of it
    state: ApiKeyState  # now


async def create(  # noqa: PLR0913 - one row's worth
    resources: Resources,
    account: str,
    scopes: Sequence[str],
    expires_in: str | None = None,
    key_id: str | None = None,
    *,
    name: str | None = None,
    actor: Actor | None = None,
) -> str:
    """A new API key of the account of this name, which is created if there is none.

    `expires_in` is a time such as 90d or 12h; None: the key does not expire. `key_id` None: a new
    id. `name`: whose or what the key is for. `actor`: who makes it, for the action log. Invalid
    with every error.
    """
    key = API_KEY_PREFIX + encode_base64url(resources.random_bytes(KEY_BYTES))
    await _add(resources, account, scopes, expires_in, key_id, key, name=name, actor=actor)
    return key


async def create_pair(  # noqa: PLR0913 - one row's worth
    resources: Resources,
    account: str,
    scopes: Sequence[str],
    expires_in: str | None = None,
    key_id: str | None = None,
    *,
    name: str | None = None,
    actor: Actor | None = None,
) -> KeyPair:
    """A new key pair of the account of this name; arguments and errors are those of `create`."""
    access_key = ACCESS_KEY_PREFIX + encode_base64url(resources.random_bytes(ACCESS_KEY_BYTES))
    secret_key = SECRET_KEY_PREFIX + encode_base64url(resources.random_bytes(KEY_BYTES))
    keys = (access_key, secret_key)
    await _add(resources, account, scopes, expires_in, key_id, *keys, name=name, actor=actor)
    return KeyPair(access_key, secret_key)


async def _add(  # noqa: PLR0913, PLR0917 - one row's worth
    resources: Resources,
    account: str,
    scopes: Sequence[str],
    expires_in: str | None,
    key_id: str | None,
    key: str,
    secret_key: str | None = None,
    *,
    name: str | None,
    actor: Actor | None,
) -> None:
    errors = _scope_errors(scopes)
    for field_, text in (("account", account), ("name", name)):
        if text is not None and not (0 < len(text) <= MAX_ACCOUNT_NAME and text.isprintable()):
            rule = f"{field_} must have 1 to {MAX_ACCOUNT_NAME} printable characters"
            errors.append(FieldError(f"/{field_}", field_, rule))
    now = resources.clock()
    expires_at = _expires_at(expires_in, now, errors)
    if errors:
        raise Invalid(errors)
    key_id, encrypted = key_id or resources.new_id("key"), None
    if secret_key is not None:
        encrypted = resources.encryptor.encrypt(secret_key.encode(), encryption_context(key_id))
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
            secret=encrypted,
            name=name,
        )
        made = {
            "name": name,
            "scopes": list(dict.fromkeys(scopes)),
            "expires_at": format_rfc3339(expires_at),
        }
        action = Action(ActionKind.KEY_CREATED, key_id, account_id, after=made)
        await action_log.record(tx, resources, actor, action)


async def list_keys(resources: Resources, account: str | None = None) -> list[ApiKeyView]:
    """All API keys, revoked ones too, the oldest first; with `account`, those of the account of
    this name."""
    async with resources.database.autocommit() as tx:
        keys = await api_keys.list_keys(tx, account)
    return [_view(key, resources.clock()) for key in keys]


async def revoke(resources: Resources, key_id: str, *, actor: Actor | None = None) -> ApiKeyView:
    """Revoke an API key: within a second, every process refuses it. `actor`: who revokes it, for
    the action log.

    A key that is revoked already stays so. NotFound if there is no key of this id.
    """
    key, _ = await _revoke(resources, key_id, actor)
    if key is None:
        raise NotFound("There is no API key of this id. See `callsheet keys list`.")
    return _view(key, resources.clock())


async def revoke_again(
    resources: Resources, key_ids: Iterable[str], actor: Actor | None = None
) -> tuple[int, int, int]:
    """Revoke keys that log lines say were revoked, after a restore: how many were by this, how many
    had been, and how many ids no key has."""
    revoked, before, unknown = 0, 0, 0
    for key_id in key_ids:
        key, changed = await _revoke(resources, key_id, actor)
        revoked += changed
        before += key is not None and not changed
        unknown += key is None
    return revoked, before, unknown


async def _revoke(
    resources: Resources, key_id: str, actor: Actor | None
) -> tuple[ApiKey | None, bool]:
    """The key of this id, which is revoked now, None if there is none; and whether this did it.
    That is one log line of ids and moment, which is kept outside the database."""
    now = resources.clock()
    async with resources.database.transaction() as tx:
        account_id = await api_keys.revoke(tx, key_id, now)
        if account_id is not None:
            action = Action(ActionKind.KEY_REVOKED, key_id, account_id)
            await action_log.record(tx, resources, actor, action)
        key = await api_keys.get(tx, key_id)
    if account_id is not None:
        at = format_rfc3339(now)
        log.info("keys", action="key_revoked", key=key_id, account=account_id, at=at)
    return key, account_id is not None


def _scope_errors(scopes: Sequence[str]) -> list[FieldError]:
    if not scopes:
        return [FieldError("/scopes", "scopes", "scopes must name at least one scope")]
    return [
        FieldError(
            "/scopes", "unknown_scope", f"scopes must be of {', '.join(SCOPES)}; not {scope!r}"
        )
        for scope in scopes
        if scope not in SCOPES
    ]


def _expires_at(text: str | None, now: datetime, errors: list[FieldError]) -> datetime | None:
    if text is None:
        return None
    try:
        return now + timedelta(seconds=parse_duration(text, MAX_LIFETIME.total_seconds()))
    except ValueError:
        rule = f"expires_in must be a time such as 90d, 12h or 30m, up to {MAX_LIFETIME.days}d"
        errors.append(FieldError("/expires_in", "expires_in", rule))
        return None


def _view(key: ApiKey, now: datetime) -> ApiKeyView:
    if key.revoked_at is not None:
        return ApiKeyView(key, ApiKeyState.REVOKED)
    expired = key.expires_at is not None and key.expires_at <= now
    return ApiKeyView(key, ApiKeyState.EXPIRED if expired else ApiKeyState.ACTIVE)
