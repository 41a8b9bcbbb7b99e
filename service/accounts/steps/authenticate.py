"""Who calls: keys that arrive together are looked up together, and their accounts' requests are
counted where that is asked for. A key is sent as it is; of a pair, a token is, which the secret key
signs and the access key names."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from service.accounts.domain import access_tokens
from service.accounts.domain.access_tokens import UnverifiedToken
from service.accounts.store import api_keys, authentication, owners, rate_limit
from service.accounts.store.authentication import OPERATOR, Caller, KeyOwner
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

Credential = bytes | UnverifiedToken  # the digest of a key, or a token
CallerBatcher = Batcher[Credential, Caller | CallsheetError]


def key_digest(key: str) -> bytes:
    """What is kept of a key: its SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def parse_credential(key: str) -> Credential:
    """What is looked up for a key, or a token in its place; Unauthorized if it can be neither."""
    return access_tokens.parse(key) if access_tokens.is_access_token(key) else key_digest(key)


async def authenticate_batch(
    resources: Resources, given: Sequence[Credential]
) -> list[Caller | CallsheetError]:
    """Whose keys and tokens these are, one request each: Unauthorized where it is no good one,
    TooMany where the account makes more requests than it may."""
    now = resources.clock()
    rate = resources.settings.requests_per_second
    async with resources.database.relaxed() as tx:
        found = await authentication.owners_by_digest(
            tx, list(dict.fromkeys(map(_lookup_digest, given))), now
        )
        asking = [
            _verify(resources, proof, found.get(_lookup_digest(proof)), now) for proof in given
        ]
        good = {caller.key_id for caller in asking if isinstance(caller, Caller)}
        unnoted = (owner.caller.key_id for owner in found.values() if owner.last_used_is_stale)
        if just_used := [key_id for key_id in unnoted if key_id in good]:
            await authentication.set_last_used(tx, just_used, now)
        return asking if rate is None else await _apply_rate_limit(tx, asking, rate)


def _lookup_digest(proof: Credential) -> bytes:
    """What it is looked up by: the digest of the key, or of the access key."""
    return key_digest(proof.access_key) if isinstance(proof, UnverifiedToken) else proof


def _verify(
    resources: Resources, proof: Credential, found: KeyOwner | None, now: datetime
) -> Caller | CallsheetError:
    """The caller, if this proves it. An access key alone proves nothing; and a token is checked
    with another secret where there is none, so that how long it takes says nothing."""
    pair = found is not None and found.secret is not None
    if isinstance(proof, UnverifiedToken):
        secret = _secret_key(resources, found) or resources.encryptor.derive("tokens of nobody")
        if flaw := access_tokens.token_error(proof, secret, now.timestamp()):
            return flaw
    elif pair:
        return Unauthorized()
    fits = pair == isinstance(proof, UnverifiedToken)
    return found.caller if found is not None and fits else Unauthorized()


def _secret_key(resources: Resources, found: KeyOwner | None) -> bytes | None:
    """The secret key of a pair; None where there is none, or it cannot be opened."""
    if found is None or found.secret is None:
        return None
    try:
        return resources.encryptor.decrypt(found.secret, encryption_context(found.caller.key_id))
    except DecryptionError as error:
        log.error("callers", action="secret_sealed", key=found.caller.key_id, error=str(error))  # noqa: TRY400 - no traceback is needed
        return None


async def _apply_rate_limit(
    tx: Connection, asking: Sequence[Caller | CallsheetError], rate: float
) -> list[Caller | CallsheetError]:
    asked = Counter(caller.account_id for caller in asking if isinstance(caller, Caller))
    granted = await rate_limit.consume(tx, asked, rate) if asked else {}
    left = {account_id: number for account_id, (number, _) in granted.items()}
    answers: list[Caller | CallsheetError] = []
    for caller in asking:
        if isinstance(caller, CallsheetError):
            answers.append(caller)
        elif left[caller.account_id] > 0:
            left[caller.account_id] -= 1
            answers.append(caller)
        else:
            _, used = granted[caller.account_id]
            wait = used + 1 / rate - rate_limit.burst_seconds(rate)
            message = f"at most {rate:g} requests a second of one account"
            answers.append(TooManyRequests(message, TOO_MANY_REQUESTS, wait))
    return answers


async def authenticate(
    batcher: CallerBatcher, key: str, scope: str, *, own: bool = False
) -> Caller:
    """The caller that a key, or a token in its place, belongs to. Unauthorized if it is no good
    one, TooMany where the account makes more requests than it may, Forbidden without this scope.
    The scope of operators opens what any other does, but what is for an account's `own` callers."""
    caller = await batcher.submit(parse_credential(key))
    if isinstance(caller, CallsheetError):
        raise caller
    enough = {scope} if own else {scope, OPERATOR}
    if caller.scopes.isdisjoint(enough):
        raise Forbidden(f"this key lacks the scope {scope}")
    return caller


async def act_as_owner(resources: Resources, caller: Caller, what: str, id_: str) -> Caller:
    """The operator, acting in the account that this belongs to; `what` is one of
    owners.NAMES_OF_IDS. NotFound if there is nothing of this id."""
    async with resources.database.autocommit() as tx:
        found = await owners.owning_account(tx, what, id_)
    if found is None:
        raise NotFound
    account_id, name = found
    return replace(caller, account_id=account_id, account_name=name)


async def readable_account_id(resources: Resources, caller: Caller, name: str) -> str | None:
    """The id of the account of this name; None if there is none. Forbidden, whether there is one or
    not, if it is another than the caller's, and this is no operator."""
    if name == caller.account_name:
        return caller.account_id
    if not caller.is_operator:
        raise Forbidden(f"only a key with the scope {OPERATOR} sees other accounts")
    return await account_id_by_name(resources, name)


async def account_id_by_name(resources: Resources, name: object) -> str | None:
    """The id of the account of this name; None if there is none, as where it is not a name."""
    if not isinstance(name, str) or not name.isprintable():  # Postgres may have no such text
        return None
    async with resources.database.autocommit() as tx:
        return await api_keys.account_id_by_name(tx, name)


async def fields_by_account_id(
    resources: Resources, caller: Caller, account_ids: Collection[str]
) -> Mapping[str, dict[str, str]]:
    """What each entry of a list says beside the rest to an operator, by the account's id; nothing
    for anybody else."""
    if not caller.is_operator or not account_ids:
        return {}
    async with resources.database.autocommit() as tx:
        names = await owners.account_names(tx, set(account_ids))
    return {account_id: {"account": name} for account_id, name in names.items()}
