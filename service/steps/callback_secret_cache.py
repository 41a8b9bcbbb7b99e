"""The secrets in force: those of the settings, and those added since, which change while we run."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from functools import partial

import structlog

from service.core import verification
from service.core.errors import SignatureError
from service.core.signature_schemes import UNSIGNED, V1, Scheme
from service.core.sources import PROVIDER
from service.settings import Settings
from service.steps.vault import Sealed, Vault
from service.store import callback_secrets
from service.store.callback_secrets import Secret
from service.store.connection import Connection

log = structlog.get_logger()

UNKNOWN_SOURCE = "NoneType"  # a persisted label: stands for the scheme of a source not configured


class Keyring:
    """What each source's callbacks are verified with, as of `version`.

    Every batch of callbacks is stored under the version it was verified with, or verified again:
    so a change holds for all that is stored after it, without anybody being told. `veils` give
    what is kept in the place of a secret that came in a header: by SECRET_KEY the first, by which
    it is kept now; by an earlier one each of the others.
    """

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.version = 0
        self._schemes = settings.callback_sources
        given = settings.webhook_secrets
        self._given = {PROVIDER: given} if given else {}
        self._vault = vault
        self.veils = tuple(partial(_veiled, key) for key in vault.derive_each("kept secrets"))
        self._keys: Mapping[str, tuple[bytes, ...]] = self._given

    def scheme(self, source: str) -> Scheme:
        """How this source signs; SignatureError if there is no such source.

        A provider that no secret is agreed with is taken not to sign: rule P91.
        """
        scheme = self._schemes.get(source)
        if scheme is None:
            raise SignatureError("no source of this name is configured")
        return scheme if source != PROVIDER or source in self._keys else UNSIGNED

    def keys(self, source: str) -> tuple[bytes, ...]:
        return self._keys.get(source, ())

    def seal_for(self, source: str, secret_id: str) -> str:
        """What a secret is bound to: where its source signs otherwise one day, it opens no more. A
        public key must never become the secret of an HMAC."""
        scheme = self._schemes.get(source)
        return f"{secret_id} {UNKNOWN_SOURCE if scheme is None else scheme.stored_as}"

    def proof(self, source: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """What is kept of a rejected callback's headers, so that it can be verified again; of a
        source nobody knows yet, those of Standard Webhooks."""
        scheme = self._schemes.get(source, V1)
        return verification.kept_headers(scheme, headers, self.veils[0])

    async def refresh(self, tx: Connection) -> None:
        """Take over what is in force now. A secret that cannot be opened lets nothing pass, but it
        is there: its source signs."""
        self.version, added = await callback_secrets.current(tx)
        keys = {source: list(given) for source, given in self._given.items()}
        for one in added:
            keys.setdefault(one.source, []).extend(self._opened(one))
        self._keys = {source: tuple(found) for source, found in keys.items()}

    def _opened(self, secret: Secret) -> Iterable[bytes]:
        try:
            return [self._vault.open(secret.secret, self.seal_for(secret.source, secret.id))]
        except Sealed as error:
            log.error("keyring", action="secret_sealed", secret=secret.id, error=str(error))  # noqa: TRY400 - no traceback is needed
            return []


def _veiled(key: bytes, secret: str) -> str:
    return hmac.new(key, secret.encode(errors="replace"), hashlib.sha256).hexdigest()
