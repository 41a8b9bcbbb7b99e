"""The webhook secrets in force, decrypted, as this process knows them: those of the settings, and
those added since. Secret rotation needs no restart: every batch of callbacks checks their version.
"""

from collections.abc import Iterable, Mapping

import structlog

from service.callbacks.domain import verification
from service.callbacks.domain.signature_schemes import UNSIGNED, V1, Scheme
from service.callbacks.domain.sources import PROVIDER
from service.callbacks.store import webhook_secrets as webhook_secret_store
from service.callbacks.store.webhook_secrets import WebhookSecret
from service.kit.crypto.encryption import DecryptionError, Encryptor
from service.kit.database.connection import Connection
from service.kit.errors import SignatureError
from service.settings import Settings

log = structlog.get_logger()

UNKNOWN_SOURCE = "NoneType"  # a persisted label: stands for the scheme of a source not configured


class WebhookSecretCache:
    """The scheme and the keys that each source's callbacks are verified with, as of `version`.

    A batch is stored only under the version in force, or verified again: so a change counts for all
    that is stored after it, in every process, though no process is notified.
    """

    def __init__(self, settings: Settings, encryptor: Encryptor) -> None:
        self.version = 0  # of the secrets in force; raised in provider_state with every change
        # Of the hashes stored in place of shared secrets: of SECRET_KEY, then of previous ones.
        self.hash_keys = encryptor.derive_all("kept secrets")
        self._schemes = settings.callback_sources
        secrets = settings.webhook_secrets
        self._from_settings = {PROVIDER: secrets} if secrets else {}
        self._encryptor = encryptor
        self._keys: Mapping[str, tuple[bytes, ...]] = self._from_settings

    def scheme_and_keys(self, source: str) -> tuple[Scheme, tuple[bytes, ...]]:
        """How a source signs, and the keys to verify it with; SignatureError if there is no such
        source. A provider without any secret does not sign (rule P91)."""
        scheme = self._schemes.get(source)
        if scheme is None:
            raise SignatureError("No source of this name is configured.")
        if source == PROVIDER and source not in self._keys:
            return UNSIGNED, ()
        return scheme, self._keys.get(source, ())

    def encryption_context(self, source: str, secret_id: str) -> str:
        """The context that a secret is encrypted in. It has the source's scheme in it, since a
        public key must never become the secret of an HMAC: where the scheme changes, the secret
        cannot be decrypted any more."""
        scheme = self._schemes.get(source)
        return f"{secret_id} {UNKNOWN_SOURCE if scheme is None else scheme.stored_as}"

    def retained_headers(self, source: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of a rejected callback that are stored, so that it can be verified again;
        those of Standard Webhooks, if there is no such source yet."""
        scheme = self._schemes.get(source, V1)
        return verification.retained_headers(scheme, headers, self.hash_keys[0])

    async def refresh(self, tx: Connection) -> None:
        """Read the secrets in force. One that cannot be decrypted verifies nothing, but counts:
        its source signs."""
        self.version, added = await webhook_secret_store.current(tx)
        keys = {source: list(secrets) for source, secrets in self._from_settings.items()}
        for secret in added:
            keys.setdefault(secret.source, []).extend(self._decrypted(secret))
        self._keys = {source: tuple(secrets) for source, secrets in keys.items()}

    def _decrypted(self, secret: WebhookSecret) -> Iterable[bytes]:
        context = self.encryption_context(secret.source, secret.id)
        try:
            return [self._encryptor.decrypt(secret.secret, context)]
        except DecryptionError as error:
            log.error(  # noqa: TRY400 - no traceback is needed
                "webhook_secrets", action="secret_unreadable", secret=secret.id, error=str(error)
            )
            return []
