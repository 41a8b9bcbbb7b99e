"""The callback secrets in force, as this process knows them: of the settings, and added since."""

from collections.abc import Iterable, Mapping

import structlog

from service.callbacks.domain import verification
from service.callbacks.domain.signature_schemes import UNSIGNED, V1, Scheme
from service.callbacks.domain.sources import PROVIDER
from service.callbacks.store import webhook_secrets
from service.callbacks.store.webhook_secrets import WebhookSecret
from service.kit.crypto.encryption import DecryptionError, Encryptor
from service.kit.database.connection import Connection
from service.kit.errors import SignatureError
from service.settings import Settings

log = structlog.get_logger()

UNKNOWN_SOURCE = "NoneType"  # a persisted label: stands for the scheme of a source not configured


class WebhookSecretCache:
    """What each source's callbacks are verified with, as of `version`.

    Every batch of callbacks is stored under the version it was verified with, or verified again:
    so a change holds for all that is stored after it, without anybody being told.

    `hash_keys` make what is kept in the place of a shared secret: the first is derived from
    SECRET_KEY and makes all that is kept now; each of the others is of an earlier SECRET_KEY.
    """

    def __init__(self, settings: Settings, vault: Encryptor) -> None:
        self.version = 0
        self.hash_keys = vault.derive_all("kept secrets")
        self._schemes = settings.callback_sources
        given = settings.webhook_secrets
        self._given = {PROVIDER: given} if given else {}
        self._vault = vault
        self._keys: Mapping[str, tuple[bytes, ...]] = self._given

    def in_force(self, source: str) -> tuple[Scheme, tuple[bytes, ...]]:
        """How a source signs, and the keys to verify it with; SignatureError if there is no such
        source. A provider that no secret is agreed with does not sign."""
        scheme = self._schemes.get(source)
        if scheme is None:
            raise SignatureError("no source of this name is configured")
        if source == PROVIDER and source not in self._keys:
            return UNSIGNED, ()
        return scheme, self._keys.get(source, ())

    def encryption_context(self, source: str, secret_id: str) -> str:
        """What an encrypted secret is bound to: where its source signs otherwise one day, it cannot
        be decrypted any more. A public key must never become the secret of an HMAC."""
        scheme = self._schemes.get(source)
        return f"{secret_id} {UNKNOWN_SOURCE if scheme is None else scheme.stored_as}"

    def retained_headers(self, source: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """What is kept of a rejected callback's headers, so that it can be verified again; of a
        source nobody knows yet, the headers of Standard Webhooks."""
        scheme = self._schemes.get(source, V1)
        return verification.retained_headers(scheme, headers, self.hash_keys[0])

    async def refresh(self, tx: Connection) -> None:
        """Take over what is in force now. A secret that cannot be decrypted lets nothing pass, but
        it is there: its source signs."""
        self.version, added = await webhook_secrets.current(tx)
        keys = {source: list(given) for source, given in self._given.items()}
        for secret in added:
            keys.setdefault(secret.source, []).extend(self._decrypted(secret))
        self._keys = {source: tuple(found) for source, found in keys.items()}

    def _decrypted(self, secret: WebhookSecret) -> Iterable[bytes]:
        context = self.encryption_context(secret.source, secret.id)
        try:
            return [self._vault.decrypt(secret.secret, context)]
        except DecryptionError as error:
            log.error("keyring", action="secret_sealed", secret=secret.id, error=str(error))  # noqa: TRY400 - no traceback is needed
            return []
