"""The secrets in force: those of the settings, and those added since, which change while we run."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

import structlog

from service.core import schemes
from service.core.errors import SignatureError
from service.core.schemes import Scheme, Unsigned
from service.core.sources import PROVIDER
from service.settings import Settings
from service.steps.vault import Sealed, Vault
from service.store import secrets
from service.store.database import Transaction
from service.store.secrets import Secret

log = structlog.get_logger()


class Keyring:
    """What each source's callbacks are verified with, as of `version`.

    Every batch of callbacks is stored under the version it was verified with, or verified again:
    so a change holds for all that is stored after it, without anybody being told.
    """

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.version = 0
        self._schemes = settings.callback_sources
        self._given = {PROVIDER: settings.webhook_secrets}
        self._vault = vault
        self._veil = vault.derive("kept secrets")
        self._keys: Mapping[str, tuple[bytes, ...]] = self._given

    def scheme(self, source: str) -> Scheme:
        """How this source signs; SignatureError if there is no such source.

        A provider that no secret is agreed with does not sign: design, section 5, Settings.
        """
        scheme = self._schemes.get(source)
        if scheme is None:
            raise SignatureError("no source of this name is configured")
        return scheme if source != PROVIDER or self.keys(source) else Unsigned()

    def keys(self, source: str) -> tuple[bytes, ...]:
        return self._keys.get(source, ())

    def veil(self, secret: str) -> str:
        """What is kept in the place of a secret that came in a header."""
        return hmac.new(self._veil, secret.encode(errors="replace"), hashlib.sha256).hexdigest()

    def proof(self, source: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """What is kept of a rejected callback's headers, so that it can be verified again."""
        try:
            return schemes.kept_headers(self.scheme(source), headers, self.veil)
        except SignatureError:  # nobody knows how it signs
            return {}

    async def refresh(self, tx: Transaction) -> None:
        """Take over what is in force now."""
        self.version, added = await secrets.current(tx)
        keys = {source: list(given) for source, given in self._given.items()}
        for source, key in self._opened(added):
            keys.setdefault(source, []).append(key)
        self._keys = {source: tuple(found) for source, found in keys.items()}

    def _opened(self, added: Iterable[Secret]) -> Iterable[tuple[str, bytes]]:
        for one in added:
            try:
                yield one.source, self._vault.open(one.secret, one.id)
            except Sealed as error:
                log.error("keyring", action="secret_sealed", secret=one.id, error=str(error))  # noqa: TRY400
