"""The secrets that callbacks are verified with: added, listed, removed while all goes on."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.core.errors import FieldError, Invalid, NotFound
from service.core.signature_schemes import read_secret
from service.core.sources import PROVIDER
from service.steps.resources import Resources
from service.store import callback_secrets
from service.store.callback_secrets import Secret

FINGERPRINT = 12  # hex digits


@dataclass(frozen=True, slots=True)
class Listed:
    """A secret without the secret; `id` and `created_at` are None for one of the settings."""

    id: str | None
    source: str
    fingerprint: str
    created_at: datetime | None


async def add(resources: Resources, source: str, text: str) -> tuple[Listed, bool]:
    """Put a secret in force, for whatever is stored from then on; whether it is new. Invalid if
    there is no such source, or if the text is no secret of its scheme."""
    key = _read(resources, source, text)
    secret_id = resources.new_id("sec")
    secret = Secret(
        id=secret_id,
        source=source,
        fingerprint=fingerprint(resources, key),
        secret=resources.vault.seal(key, resources.keyring.seal_for(source, secret_id)),
        created_at=resources.clock(),
    )
    earlier = {(source, one) for one in _fingerprints(resources, key)}
    async with resources.database.transaction() as tx:
        _, before = await callback_secrets.current(tx)
        known = any((one.source, one.fingerprint) in earlier for one in before)
        new = not known and await callback_secrets.add(tx, secret)
        _, added = await callback_secrets.current(tx)
    kept = next(one for one in added if (one.source, one.fingerprint) in earlier)
    return _listed(kept), new


async def listed(resources: Resources) -> list[Listed]:
    """Those of the settings, then those added, the oldest first."""
    async with resources.database.autocommit() as tx:
        _, added = await callback_secrets.current(tx)
    return [*_given(resources), *map(_listed, added)]


async def remove(resources: Resources, secret_id: str) -> tuple[Listed, bool]:
    """Put it out of force; whether it was the last of its source. NotFound if there is none."""
    async with resources.database.transaction() as tx:
        _, before = await callback_secrets.current(tx)
        removed = next((one for one in before if one.id == secret_id), None)
        if removed is None or not await callback_secrets.remove(tx, [secret_id]):
            raise NotFound("there is no secret of this id; see: callsheet secrets list")
        _, after = await callback_secrets.current(tx)
    left = {one.source for one in after} | {one.source for one in _given(resources)}
    return _listed(removed), removed.source not in left


def _read(resources: Resources, source: str, text: str) -> bytes:
    schemes = resources.settings.callback_sources
    if source not in schemes:
        rule = f"{source!r} is not a source of callbacks: {', '.join(sorted(schemes))}"
        raise Invalid([FieldError("/source", "unknown_source", rule)])
    try:
        return read_secret(schemes[source], text)
    except ValueError as error:
        raise Invalid([FieldError("/secret", "secret", str(error))]) from None


def _given(resources: Resources) -> Sequence[Listed]:
    keys = resources.settings.webhook_secrets
    return [Listed(None, PROVIDER, fingerprint(resources, key), None) for key in keys]


def _listed(secret: Secret) -> Listed:
    return Listed(secret.id, secret.source, secret.fingerprint, secret.created_at)


def fingerprint(resources: Resources, key: bytes) -> str:
    """Under a key of ours: a secret that people made up could be guessed from a plain hash."""
    return _fingerprints(resources, key)[0]


def _fingerprints(resources: Resources, key: bytes) -> list[str]:
    """That of SECRET_KEY, then those that an earlier one gave."""
    ours = resources.vault.derive_each("fingerprints of secrets")
    return [hmac.digest(one, key, hashlib.sha256).hex()[:FINGERPRINT] for one in ours]
