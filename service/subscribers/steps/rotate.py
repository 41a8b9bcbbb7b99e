"""Secret rotation without a rejected delivery: old signing keys sign beside the new ones until an
overlap is over. The secret of an account's callback_urls, and the public keys as a JWKS."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.kit.crypto.encryption import DecryptionError, encryption_context
from service.kit.crypto.key_formats import format_whsec, parse_whsec
from service.kit.crypto.webhook_signatures import (
    NEW_SECRET_BYTES,
    SEED_BYTES,
    jwk,
    public_key_from_seed,
)
from service.kit.database.connection import Connection
from service.kit.errors import NotFound
from service.kit.validation import Reader, ValidationContext, read_object
from service.resources import Resources
from service.subscribers.store import callback_url_secret, signing_keys
from service.subscribers.store.signing_keys import PreviousSigningKey, SigningKeys

log = structlog.get_logger()

MAX_OVERLAP = 604_800  # seconds: a week, as long as the provider's own (rule P75)
DEFAULT_OVERLAP = 86_400  # seconds
# A verifier may look at sixteen signatures and no more, as ours does: there are twelve at most.
MAX_PREVIOUS_KEYS = 5
MAX_PUBLISHED_KEYS = 1000  # public keys in force, and as many previous ones


@dataclass(frozen=True, slots=True)
class RotatedKeys:
    """A subscriber's new secret, and the public keys that its signatures may be verified with."""

    subscriber_id: str  # whose keys they are
    secret: str = field(repr=False)  # whsec_…
    public_keys: tuple[bytes, ...]  # the new one first, then previous ones; empty without v1a


@dataclass(frozen=True, slots=True)
class _RotationRequest:
    overlap: timedelta  # for how long the old keys sign on
    secret: bytes | None = field(repr=False)  # the new secret; None: a random one


async def rotate(
    resources: Resources,
    account_id: str,
    subscriber_id: str,
    body: object,
    actor: Actor | None = None,
) -> RotatedKeys:
    """Give a subscriber new keys; until the overlap has passed the old ones sign beside them.

    Concurrent rotations go one after the other. At most MAX_PREVIOUS_KEYS previous keys sign: then
    the oldest is dropped. `actor`: who does it, for the action log; None: a caller does. NotFound
    if the account has no such subscriber; Invalid with every error.
    """
    request = _read_request(body)
    secret = request.secret or resources.random_bytes(NEW_SECRET_BYTES)
    async with resources.database.transaction() as tx:
        old = await signing_keys.lock(tx, account_id, subscriber_id)
        if old is None:
            raise NotFound
        previous = await _keep_previous(tx, resources, subscriber_id, old, request.overlap)
        seed, public_key = (
            new_ed25519_key(resources, subscriber_id) if old.seed is not None else (None, None)
        )
        encrypted = resources.encryptor.encrypt(secret, encryption_context(subscriber_id))
        keys = SigningKeys(encrypted, seed, public_key)
        v1a = await signing_keys.replace(tx, subscriber_id, keys)
        overlap = {"overlap": request.overlap.total_seconds()}
        kind = ActionKind.SUBSCRIBER_SECRET_ROTATED
        action = Action(kind, subscriber_id, account_id, after=overlap)
        await action_log.record(tx, resources, actor, action)
    log.info("signing", action="secret_rotated", subscriber=subscriber_id, previous=len(previous))
    in_force = (keys, *(key.keys for key in previous)) if v1a else ()
    public_keys = tuple(key.public_key for key in in_force if key.public_key is not None)
    return RotatedKeys(subscriber_id, format_whsec(secret), public_keys)


async def rotate_callback_url_secret(
    resources: Resources, account_id: str, body: object, actor: Actor | None = None
) -> str:
    """Give an account a new secret (whsec_…) for its callback_urls; until the overlap has passed
    the old one signs beside it. `actor` as in rotate(). Invalid with every error."""
    request = _read_request(body)
    secret = request.secret or resources.random_bytes(NEW_SECRET_BYTES)
    async with resources.database.transaction() as tx:
        old = await callback_url_secret.get(tx, account_id, for_update=True)
        if old is not None:
            keys = SigningKeys(old, None, None)
            await _keep_previous(tx, resources, account_id, keys, request.overlap)
        encrypted = resources.encryptor.encrypt(secret, encryption_context(account_id))
        await callback_url_secret.replace(tx, account_id, encrypted)
        overlap = {"overlap": request.overlap.total_seconds()}
        kind = ActionKind.CALLBACK_SECRET_ROTATED
        action = Action(kind, account_id, account_id, after=overlap)
        await action_log.record(tx, resources, actor, action)
    log.info("signing", action="secret_rotated", account=account_id)
    return format_whsec(secret)


async def get_callback_url_secret(resources: Resources, account_id: str) -> str:
    """The secret (whsec_…) that signs for an account's callback_urls, created if there is none."""
    async with resources.database.transaction() as tx:
        encrypted = await ensure_callback_url_secret(tx, resources, account_id)
    return format_whsec(resources.encryptor.decrypt(encrypted, encryption_context(account_id)))


async def ensure_callback_url_secret(
    tx: Connection, resources: Resources, account_id: str
) -> bytes:
    """The encrypted secret that signs for an account's callback_urls, created if there is none.

    Of several transactions that find none at once, one creates it and the others wait for its end.
    """
    encrypted = await callback_url_secret.get(tx, account_id)
    if encrypted is None:
        encrypted = resources.encryptor.encrypt(
            resources.random_bytes(NEW_SECRET_BYTES), encryption_context(account_id)
        )
        encrypted = await callback_url_secret.set_if_missing(tx, account_id, encrypted)
    return encrypted


async def public_jwks(resources: Resources) -> list[dict[str, str]]:
    """The JWKs of all subscribers' public keys: the newest MAX_PUBLISHED_KEYS of those in force,
    and of previous ones that still sign. Each subscriber shows all of its own besides."""
    async with resources.database.autocommit() as tx:
        keys = await signing_keys.public_keys(tx, resources.clock(), MAX_PUBLISHED_KEYS)
    return [jwk(key) for key in keys]


def new_ed25519_key(resources: Resources, subscriber_id: str) -> tuple[bytes, bytes]:
    """A new key that signs v1a: its encrypted seed, and its public key."""
    seed = resources.random_bytes(SEED_BYTES)
    encrypted = resources.encryptor.encrypt(seed, encryption_context(subscriber_id, "seed"))
    return encrypted, public_key_from_seed(seed)


def _read_request(body: object) -> _RotationRequest:
    defaults = {"overlap": timedelta(seconds=DEFAULT_OVERLAP), "secret": None}
    return _RotationRequest(**defaults | read_object(body, READERS))


def _read_overlap(context: ValidationContext, pointer: str, value: object) -> timedelta | None:
    if type(value) is int and 0 <= value <= MAX_OVERLAP:  # to isinstance True is 1
        return timedelta(seconds=value)
    rule = f"must be a whole number of seconds from 0 to {MAX_OVERLAP}"
    context.add_error(pointer, "overlap", rule)
    return None


def _read_secret(context: ValidationContext, pointer: str, value: object) -> bytes | None:
    try:
        return parse_whsec(value if isinstance(value, str) else "")
    except ValueError as error:
        context.add_error(pointer, "secret", f"must be a webhook secret: {error}")
        return None


READERS: Mapping[str, Reader] = {"overlap": _read_overlap, "secret": _read_secret}


async def _keep_previous(
    tx: Connection, resources: Resources, owner_id: str, old: SigningKeys, overlap: timedelta
) -> list[PreviousSigningKey]:
    """Let old keys sign until the overlap is over; all previous keys that sign now, the newest
    first. The owner's row is locked.

    Keys that cannot be decrypted are dropped: they would keep the new keys from signing too.
    """
    now = resources.clock()
    before = await signing_keys.previous_keys(tx, owner_id)
    kept = [
        key
        for key in before
        if key.expires_at > now and _can_decrypt(resources, owner_id, key.keys)
    ]
    if overlap and _can_decrypt(resources, owner_id, old):
        added = PreviousSigningKey(resources.new_id("key"), owner_id, old, now + overlap)
        await signing_keys.add_previous(tx, added)
        kept = [added, *kept][:MAX_PREVIOUS_KEYS]
    kept_ids = {key.id for key in kept}
    await signing_keys.delete_previous(tx, [key.id for key in before if key.id not in kept_ids])
    return kept


def _can_decrypt(resources: Resources, owner_id: str, keys: SigningKeys) -> bool:
    encryptor = resources.encryptor
    try:
        encryptor.decrypt(keys.secret, encryption_context(owner_id))
        if keys.seed is not None:
            encryptor.decrypt(keys.seed, encryption_context(owner_id, "seed"))
    except DecryptionError as error:
        log.warning("signing", action="secret_unreadable", owner=owner_id, error=str(error))
        return False
    return True
