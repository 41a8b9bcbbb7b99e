"""Authentication of requests: API keys and access tokens, scopes, and the account's rate limit.

Credentials that arrive together are looked up together, and what was found of a key is remembered
for half a second. An API key is sent as it is; of a key pair an access token is sent, which names
the access key and is signed with the secret key.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from service.accounts.domain import access_tokens
from service.accounts.domain.access_tokens import UnverifiedToken
from service.accounts.store import api_keys, authentication, owners, rate_limit
from service.accounts.store.authentication import Caller, KeyOwner
from service.kit.concurrency.batcher import Batcher
from service.kit.crypto.encryption import DecryptionError, encryption_context
from service.kit.database.connection import Connection
from service.kit.errors import (
    TOO_MANY_REQUESTS,
    CallsheetError,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthorized,
)
from service.resources import Resources

log = structlog.get_logger()

Credential = bytes | UnverifiedToken  # the digest of an API key, or an access token
CallerBatcher = Batcher[Credential, Caller | CallsheetError]


def key_digest(key: str) -> bytes:
    """The SHA-256 of a key, which alone is stored of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def parse_credential(text: str) -> Credential:
    """The digest of an API key, or the claims of an access token. Unauthorized if it is a malformed
    token."""
    return access_tokens.parse(text) if access_tokens.is_access_token(text) else key_digest(text)


async def authenticate_batch(
    resources: Resources, credentials: Sequence[Credential]
) -> list[Caller | CallsheetError]:
    """The caller of each request, by its credential, or why it is refused: Unauthorized without a
    valid key or token, TooManyRequests beyond the account's rate limit. What is found of a key that
    was proved to be the caller's is remembered."""
    now, looked_up_at = resources.clock(), resources.key_owners.clock()
    rate = resources.settings.requests_per_second
    digests = [_lookup_digest(credential) for credential in credentials]
    async with resources.database.relaxed() as tx:
        key_owners = await authentication.owners_by_digest(tx, list(dict.fromkeys(digests)), now)
        results = [
            _verify(resources, credential, key_owners.get(digest), now)
            for credential, digest in zip(credentials, digests, strict=True)
        ]
        verified = {result.key_id for result in results if isinstance(result, Caller)}
        stale = {owner.caller.key_id for owner in key_owners.values() if owner.last_used_is_stale}
        if just_used := verified & stale:
            await authentication.set_last_used(tx, sorted(just_used), now)
        proved = {
            digest: owner for digest, owner in key_owners.items() if owner.caller.key_id in verified
        }
        resources.key_owners.remember(proved, looked_up_at)
        return results if rate is None else await _apply_rate_limit(tx, results, rate)


def _lookup_digest(credential: Credential) -> bytes:
    """The digest of the API key, or of the access key that a token names."""
    if isinstance(credential, UnverifiedToken):
        return key_digest(credential.access_key)
    return credential


def _verify(
    resources: Resources, credential: Credential, owner: KeyOwner | None, now: datetime
) -> Caller | CallsheetError:
    """The caller, if the credential proves it; `owner` is None for an unknown key.

    An access key by itself proves nothing. A token of an unknown key is checked with some other
    secret, so that the time it takes does not tell whether the key exists.
    """
    is_pair = owner is not None and owner.secret is not None
    if isinstance(credential, UnverifiedToken):
        secret = _secret_key(resources, owner) or resources.encryptor.derive("tokens of nobody")
        if error := access_tokens.token_error(credential, secret, now.timestamp()):
            return error
    if owner is None or is_pair != isinstance(credential, UnverifiedToken):
        return Unauthorized()
    return owner.caller


def _secret_key(resources: Resources, owner: KeyOwner | None) -> bytes | None:
    """The secret key of a key pair; None if there is none, or it cannot be decrypted."""
    if owner is None or owner.secret is None:
        return None
    try:
        return resources.encryptor.decrypt(owner.secret, encryption_context(owner.caller.key_id))
    except DecryptionError as error:
        key_id = owner.caller.key_id
        log.warning("authentication", action="secret_unreadable", key=key_id, error=str(error))
        return None


async def _apply_rate_limit(
    tx: Connection, callers: Sequence[Caller | CallsheetError], rate: float
) -> list[Caller | CallsheetError]:
    """The callers, with TooManyRequests in place of those beyond their account's rate limit."""
    requested = Counter(caller.account_id for caller in callers if isinstance(caller, Caller))
    granted = await rate_limit.consume(tx, requested, rate) if requested else {}
    left = {account_id: number for account_id, (number, _) in granted.items()}
    results: list[Caller | CallsheetError] = []
    for caller in callers:
        if isinstance(caller, CallsheetError):
            results.append(caller)
        elif left[caller.account_id] > 0:
            left[caller.account_id] -= 1
            results.append(caller)
        else:
            _, used_seconds = granted[caller.account_id]
            retry_after = used_seconds + 1 / rate - rate_limit.burst_seconds(rate)
            message = f"An account may make at most {rate:g} requests a second."
            results.append(TooManyRequests(message, TOO_MANY_REQUESTS, retry_after))
    return results


async def authenticate(resources: Resources, batcher: CallerBatcher, text: str) -> Caller:
    """The caller that an API key or access token belongs to. Unauthorized without a valid key or
    token, TooManyRequests beyond the account's rate limit."""
    credential = parse_credential(text)
    caller = _remembered(resources, credential) or await batcher.submit(credential)
    if isinstance(caller, CallsheetError):
        raise caller
    return caller


def _remembered(resources: Resources, credential: Credential) -> Caller | None:
    """The caller, by what is remembered of the key; None if it must be looked up: always where
    requests are counted against a rate limit, and before any is refused."""
    if resources.settings.requests_per_second is not None:
        return None
    owner = resources.key_owners.get(_lookup_digest(credential), resources.clock)
    if owner is not None and owner.secret is None and isinstance(credential, bytes):
        return owner.caller
    result = _verify(resources, credential, owner, resources.clock())
    return result if isinstance(result, Caller) else None


async def act_as_owner(resources: Resources, caller: Caller, parameter: str, id_: str) -> Caller:
    """The operator as acting in the account that owns what has this id. NotFound if nothing has it.

    `parameter` says of what the id is: one of owners.OWNED_PATH_PARAMETERS.
    """
    async with resources.database.autocommit() as tx:
        account = await owners.owning_account(tx, parameter, id_)
    if account is None:
        raise NotFound
    account_id, name = account
    return replace(caller, account_id=account_id, account_name=name)


async def readable_account_id(resources: Resources, caller: Caller, name: str) -> str | None:
    """The id of the account of this name, which the caller may read; None if there is none.

    Forbidden if it is not the caller's own account and the caller is no operator, whether that
    account exists or not.
    """
    if name == caller.account_name:
        return caller.account_id
    if not caller.sees_all:
        raise Forbidden("Only a key with an operator's scope sees other accounts.")
    return await account_id_by_name(resources, name)


async def account_id_by_name(resources: Resources, name: object) -> str | None:
    """The id of the account of this name; None if there is none, or `name` is not a name."""
    if not isinstance(name, str) or not name.isprintable():  # Postgres cannot store such text
        return None
    async with resources.database.autocommit() as tx:
        return await api_keys.account_id_by_name(tx, name)


async def account_fields(
    resources: Resources, caller: Caller, account_ids: Collection[str]
) -> Mapping[str, dict[str, str]]:
    """The field `account` that a list's entries have for operators, by account id; empty for other
    callers."""
    if not caller.sees_all or not account_ids:
        return {}
    async with resources.database.autocommit() as tx:
        names = await owners.account_names(tx, set(account_ids))
    return {account_id: {"account": name} for account_id, name in names.items()}
