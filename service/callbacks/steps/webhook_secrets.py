"""The secrets that callbacks are verified with: added, listed, removed while all goes on."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.callbacks.domain.signature_schemes import read_secret
from service.callbacks.domain.sources import PROVIDER
from service.callbacks.store import webhook_secrets
from service.callbacks.store.webhook_secrets import WebhookSecret
from service.kit.errors import FieldError, Invalid, NotFound
from service.resources import Resources

FINGERPRINT_DIGITS = 12  # hex digits


@dataclass(frozen=True, slots=True)
class SecretView:
    """A callback secret without the secret itself."""

    id: str | None  # None for one of the settings
    source: str
    fingerprint: str  # FINGERPRINT hex digits, by which people know it
    created_at: datetime | None  # None for one of the settings


async def add(resources: Resources, source: str, text: str) -> tuple[SecretView, bool]:
    """Put a secret in force, for whatever is stored from then on; whether it is new. Invalid if
    there is no such source, or if the text is no secret of its scheme."""
    key = _read(resources, source, text)
    secret_id = resources.new_id("sec")
    context = resources.webhook_secrets.encryption_context(source, secret_id)
    added = WebhookSecret(
        id=secret_id,
        source=source,
        fingerprint=fingerprint(resources, key),
        secret=resources.encryptor.encrypt(key, context),
        created_at=resources.clock(),
    )
    earlier = {(source, mark) for mark in _fingerprints(resources, key)}
    async with resources.database.transaction() as tx:
        _, before = await webhook_secrets.current(tx)
        known = any((secret.source, secret.fingerprint) in earlier for secret in before)
        new = not known and await webhook_secrets.add(tx, added)
        _, after = await webhook_secrets.current(tx)
    secret = next(s for s in after if (s.source, s.fingerprint) in earlier)
    return _view(secret), new


async def list_secrets(resources: Resources) -> list[SecretView]:
    """The secrets of the settings, then those added, the oldest first."""
    async with resources.database.autocommit() as tx:
        _, added = await webhook_secrets.current(tx)
    return [*_from_settings(resources), *map(_view, added)]


async def remove(resources: Resources, secret_id: str) -> tuple[SecretView, bool]:
    """Put a secret out of force; whether it was the last of its source. NotFound if there is no
    secret of this id."""
    async with resources.database.transaction() as tx:
        _, before = await webhook_secrets.current(tx)
        removed = next((secret for secret in before if secret.id == secret_id), None)
        if removed is None or not await webhook_secrets.remove(tx, [secret_id]):
            raise NotFound("there is no secret of this id; see: callsheet secrets list")
        _, after = await webhook_secrets.current(tx)
    left = {secret.source for secret in after} | {view.source for view in _from_settings(resources)}
    return _view(removed), removed.source not in left


def _read(resources: Resources, source: str, text: str) -> bytes:
    schemes = resources.settings.callback_sources
    if source not in schemes:
        rule = f"{source!r} is not a source of callbacks: {', '.join(sorted(schemes))}"
        raise Invalid([FieldError("/source", "unknown_source", rule)])
    try:
        return read_secret(schemes[source], text)
    except ValueError as error:
        raise Invalid([FieldError("/secret", "secret", str(error))]) from None


def _from_settings(resources: Resources) -> Sequence[SecretView]:
    keys = resources.settings.webhook_secrets
    return [SecretView(None, PROVIDER, fingerprint(resources, key), None) for key in keys]


def _view(secret: WebhookSecret) -> SecretView:
    return SecretView(secret.id, secret.source, secret.fingerprint, secret.created_at)


def fingerprint(resources: Resources, key: bytes) -> str:
    """What a secret is known by, in hex; under a key of ours, since a plain hash would let a secret
    that people made up be guessed."""
    return _fingerprints(resources, key)[0]


def _fingerprints(resources: Resources, key: bytes) -> list[str]:
    """The fingerprint under SECRET_KEY, then those that earlier keys gave."""
    ours = resources.encryptor.derive_all("fingerprints of secrets")
    return [hmac.digest(own, key, hashlib.sha256).hex()[:FINGERPRINT_DIGITS] for own in ours]
