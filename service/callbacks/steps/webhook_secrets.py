"""Webhook secret rotation: adds, lists and removes what callbacks are verified with."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.accounts.steps import action_log
from service.callbacks.domain.signature_schemes import read_secret
from service.callbacks.domain.sources import PROVIDER
from service.callbacks.store import webhook_secrets as webhook_secret_store
from service.callbacks.store.webhook_secrets import WebhookSecret
from service.kit.database.connection import Connection
from service.kit.errors import FieldError, Invalid, NotFound
from service.resources import Resources

FINGERPRINT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class SecretView:
    """A webhook secret as operators see it: without the secret itself."""

    id: str | None  # None: it is one of the settings
    source: str  # the source's name
    fingerprint: str  # FINGERPRINT_DIGITS hex digits, by which people recognise it
    created_at: datetime | None  # when it was added; None: it is one of the settings


async def add(
    resources: Resources, source: str, text: str, *, actor: Actor | None = None
) -> tuple[SecretView, bool]:
    """Put a secret in force, for all callbacks that are stored from then on; and whether it is new.

    `actor`: who adds it, for the action log. Invalid if there is no such source, or if the text is
    no secret of the source's scheme.
    """
    key = _read_secret(resources, source, text)
    secret_id = resources.new_id("sec")
    context = resources.webhook_secrets.encryption_context(source, secret_id)
    secret = WebhookSecret(
        id=secret_id,
        source=source,
        fingerprint=fingerprint(resources, key),
        secret=resources.encryptor.encrypt(key, context),
        created_at=resources.clock(),
    )
    fingerprints = _fingerprints(resources, key)
    async with resources.database.transaction() as tx:
        existing = await _find(tx, source, fingerprints)
        new = existing is None and await webhook_secret_store.add(tx, secret)
        if new:
            added = {"source": source, "fingerprint": secret.fingerprint}
            action = Action(ActionKind.SECRET_ADDED, secret_id, after=added)
            await action_log.record(tx, resources, actor, action)
        in_force = existing or await _find(tx, source, fingerprints)
    return _view(in_force or secret), new


async def list_secrets(resources: Resources) -> list[SecretView]:
    """The secrets of the settings, then those added, oldest first."""
    async with resources.database.autocommit() as tx:
        _, added = await webhook_secret_store.current(tx)
    return [*_from_settings(resources), *map(_view, added)]


async def remove(
    resources: Resources, secret_id: str, *, actor: Actor | None = None
) -> tuple[SecretView, bool]:
    """Put a secret out of force; and whether it was the last of its source. `actor`: who removes
    it, for the action log. NotFound if there is no secret of this id."""
    async with resources.database.transaction() as tx:
        _, before = await webhook_secret_store.current(tx)
        removed = next((secret for secret in before if secret.id == secret_id), None)
        if removed is None or not await webhook_secret_store.remove(tx, secret_id):
            raise NotFound("There is no webhook secret of this id. See `callsheet secrets list`.")
        _, after = await webhook_secret_store.current(tx)
        was = {"source": removed.source, "fingerprint": removed.fingerprint}
        action = Action(ActionKind.SECRET_REMOVED, secret_id, before=was)
        await action_log.record(tx, resources, actor, action)
    left = [*map(_view, after), *_from_settings(resources)]
    return _view(removed), all(secret.source != removed.source for secret in left)


def _read_secret(resources: Resources, source: str, text: str) -> bytes:
    schemes = resources.settings.callback_sources
    if source not in schemes:
        rule = f"source must be one of {', '.join(sorted(schemes))}; not {source!r}"
        raise Invalid([FieldError("/source", "unknown_source", rule)])
    try:
        return read_secret(schemes[source], text)
    except ValueError as error:
        raise Invalid([FieldError("/secret", "secret", f"secret is not usable: {error}")]) from None


async def _find(tx: Connection, source: str, fingerprints: Sequence[str]) -> WebhookSecret | None:
    _, secrets = await webhook_secret_store.current(tx)
    matching = (s for s in secrets if s.source == source and s.fingerprint in fingerprints)
    return next(matching, None)


def _from_settings(resources: Resources) -> Sequence[SecretView]:
    keys = resources.settings.webhook_secrets
    return [SecretView(None, PROVIDER, fingerprint(resources, key), None) for key in keys]


def _view(secret: WebhookSecret) -> SecretView:
    return SecretView(secret.id, secret.source, secret.fingerprint, secret.created_at)


def fingerprint(resources: Resources, key: bytes) -> str:
    """The fingerprint of a secret, in hex. It is made with SECRET_KEY, since a plain hash would let
    a secret that people made up be guessed."""
    return _fingerprints(resources, key)[0]


def _fingerprints(resources: Resources, key: bytes) -> list[str]:
    """The fingerprint under SECRET_KEY, then those under previous ones."""
    hash_keys = resources.encryptor.derive_all("fingerprints of secrets")
    digests = (hmac.digest(hash_key, key, hashlib.sha256).hex() for hash_key in hash_keys)
    return [digest[:FINGERPRINT_DIGITS] for digest in digests]
