"""The keys that sign what goes out: made, rotated while deliveries go on, and published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from service.kit.crypto import key_formats, webhook_signatures
from service.kit.crypto.encryption import DecryptionError, encryption_context
from service.kit.crypto.key_formats import parse_whsec
from service.kit.database.connection import Connection
from service.kit.errors import NotFound
from service.kit.validation import Reader, ValidationContext, read_object
from service.resources import Resources
from service.subscribers.store import callback_url_secret, signing_keys
from service.subscribers.store.signing_keys import PreviousSigningKey, SigningKeys

log = structlog.get_logger()

MAX_OVERLAP = 604_800  # seconds: a week, as long as the provider's own (rule P75)
DEFAULT_OVERLAP = 86_400  # where none is asked for
# A verifier may look at sixteen signatures and no more, as ours does: there are twelve at most.
MAX_PREVIOUS_KEYS = 5
MAX_PUBLISHED_KEYS = 1000  # public keys in force, and as many retired ones


@dataclass(frozen=True, slots=True)
class RotatedKeys:
    """A subscriber's new secret; where its signatures include v1a, its new public key, and then
    those it may find signatures of until their overlap is over."""

    subscriber_id: str
    secret: str = field(repr=False)
    public_keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _RotationRequest:
    overlap: timedelta  # for which the old keys still sign
    secret: bytes | None = field(repr=False)  # None where we make it


async def rotate(
    resources: Resources, account_id: str, subscriber_id: str, body: object
) -> RotatedKeys:
    """New keys from now on; until the overlap has passed the old ones sign beside them.

    Several at once go one after the other. Of retired keys at most MOST_RETIRED sign: then the
    oldest goes. NotFound if the account has no such subscriber; Invalid with every error.
    """
    wish = _read_request(body)
    key = wish.secret or resources.random_bytes(webhook_signatures.SECRET_BYTES)
    async with resources.database.transaction() as tx:
        old = await signing_keys.lock(tx, account_id, subscriber_id)
        if old is None:
            raise NotFound
        retired = await _keep_previous(tx, resources, subscriber_id, old, wish.overlap)
        new = _encrypt_keys(resources, subscriber_id, key, asymmetric=old.seed is not None)
        v1a = await signing_keys.replace(tx, subscriber_id, new)
    log.info("signing", action="secret_rotated", subscriber=subscriber_id, retired=len(retired))
    public = (new.public_key, *(one.public_key for one in retired)) if v1a else ()
    shown = tuple(one for one in public if one is not None)
    return RotatedKeys(subscriber_id, key_formats.format_whsec(key), shown)


async def rotate_callback_url_secret(resources: Resources, account_id: str, body: object) -> str:
    """The same for the secret that signs what goes to the account's callback_urls."""
    wish = _read_request(body)
    key = wish.secret or resources.random_bytes(webhook_signatures.SECRET_BYTES)
    async with resources.database.transaction() as tx:
        old = await callback_url_secret.get(tx, account_id, hold=True)
        if old is not None:
            await _keep_previous(
                tx, resources, account_id, SigningKeys(old, None, None), wish.overlap
            )
        sealed = resources.encryptor.encrypt(key, encryption_context(account_id))
        await callback_url_secret.replace(tx, account_id, sealed)
    log.info("signing", action="secret_rotated", account=account_id)
    return key_formats.format_whsec(key)


async def ensure_callback_url_secret(tx: Connection, resources: Resources, account_id: str) -> None:
    """The account has a secret for its callback_urls, from when this transaction commits on. Of
    several that find none at once, one makes it, and the others wait until that is decided."""
    await _ensure_secret(tx, resources, account_id)


async def get_callback_url_secret(resources: Resources, account_id: str) -> str:
    """What signs for the account's callback_urls; made now, if there is none yet."""
    async with resources.database.transaction() as tx:
        sealed = await _ensure_secret(tx, resources, account_id)
    return key_formats.format_whsec(
        resources.encryptor.decrypt(sealed, encryption_context(account_id))
    )


async def _ensure_secret(tx: Connection, resources: Resources, account_id: str) -> bytes:
    """Sealed."""
    sealed = await callback_url_secret.get(tx, account_id)
    if sealed is None:
        key = resources.random_bytes(webhook_signatures.SECRET_BYTES)
        sealed = await callback_url_secret.set_if_missing(
            tx, account_id, resources.encryptor.encrypt(key, encryption_context(account_id))
        )
    return sealed


async def public_jwks(resources: Resources) -> list[dict[str, str]]:
    """The public keys of all subscribers that have v1a, and the retired ones that still sign: at
    most MOST_PUBLISHED of either, the newest. A subscriber's own are shown with it, all of them."""
    async with resources.database.autocommit() as tx:
        found = await signing_keys.public_keys(tx, resources.clock(), MAX_PUBLISHED_KEYS)
    return [webhook_signatures.jwk(one) for one in found]


def _read_request(body: object) -> _RotationRequest:
    """The rotation that a JSON body asks for; Invalid with every error."""
    read = {"overlap": timedelta(seconds=DEFAULT_OVERLAP), "secret": None}
    return _RotationRequest(**read | read_object(body, READERS))


def _overlap(context: ValidationContext, at: str, value: object) -> timedelta | None:
    if type(value) is int and 0 <= value <= MAX_OVERLAP:  # to isinstance True is 1
        return timedelta(seconds=value)
    context.add_error(at, "overlap", f"must be a whole number of seconds from 0 to {MAX_OVERLAP}")
    return None


def _secret(context: ValidationContext, at: str, value: object) -> bytes | None:
    try:
        return parse_whsec(value if isinstance(value, str) else "")
    except ValueError as error:
        context.add_error(at, "secret", f"must be a webhook secret: {error}")
        return None


READERS: Mapping[str, Reader] = {"overlap": _overlap, "secret": _secret}


def _encrypt_keys(
    resources: Resources, owner_id: str, key: bytes, *, asymmetric: bool
) -> SigningKeys:
    """Keys to put in force; with an ed25519 key beside the secret, if there is to be one."""
    secret = resources.encryptor.encrypt(key, encryption_context(owner_id))
    if not asymmetric:
        return SigningKeys(secret, None, None)
    seed = resources.random_bytes(webhook_signatures.SEED_BYTES)
    sealed = resources.encryptor.encrypt(seed, encryption_context(owner_id, "seed"))
    return SigningKeys(secret, sealed, webhook_signatures.public_key_from_seed(seed))


async def _keep_previous(
    tx: Connection, resources: Resources, owner_id: str, old: SigningKeys, overlap: timedelta
) -> list[PreviousSigningKey]:
    """Let old keys sign until the overlap is over; all retired ones that sign now, the youngest
    first. The owner's row is locked. What cannot be opened signs no more: it would keep the new
    key from signing too."""
    now = resources.clock()
    before = await signing_keys.previous_keys(tx, owner_id)
    kept = [
        one for one in before if one.expires_at > now and _can_decrypt(resources, owner_id, one)
    ]
    if overlap and _can_decrypt(resources, owner_id, old):
        new = _previous(resources, owner_id, old, now + overlap)
        await signing_keys.add_previous(tx, new)
        kept = [new, *kept][:MAX_PREVIOUS_KEYS]
    staying = {one.id for one in kept}
    await signing_keys.delete_previous(tx, [one.id for one in before if one.id not in staying])
    return kept


def _previous(
    resources: Resources, owner_id: str, old: SigningKeys, until: datetime
) -> PreviousSigningKey:
    """Still sealed as it was: in force or retired, it is bound to the same owner."""
    id_ = resources.new_id("key")
    return PreviousSigningKey(id_, owner_id, old.secret, old.seed, old.public_key, until)


def _can_decrypt(
    resources: Resources, owner_id: str, keys: SigningKeys | PreviousSigningKey
) -> bool:
    vault = resources.encryptor
    try:
        vault.decrypt(keys.secret, encryption_context(owner_id))
        if keys.seed is not None:
            vault.decrypt(keys.seed, encryption_context(owner_id, "seed"))
    except DecryptionError as error:
        log.warning("signing", action="secret_sealed", owner=owner_id, error=str(error))
        return False
    return True
