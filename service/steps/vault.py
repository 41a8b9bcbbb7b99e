"""Secrets at rest: sealed with AES-256-GCM under a key derived from SECRET_KEY."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE_BYTES = 12  # NIST SP 800-38D, section 5.2.1.1


class Sealed(Exception):
    """The secret cannot be opened: was SECRET_KEY changed?"""

    def __str__(self) -> str:
        return str(self.__doc__)


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals and opens. `context` is bound in: what was sealed for one owner opens for no other."""

    secret_key: bytes = field(repr=False)
    chance: Callable[[int], bytes]

    def seal(self, secret: bytes, context: str) -> bytes:
        nonce = self.chance(NONCE_BYTES)
        return VERSION + nonce + self._cipher().encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The secret; Sealed if it was sealed under another key or for another owner."""
        nonce, content = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher().decrypt(nonce, content, context.encode())
        except InvalidTag:
            raise Sealed from None

    def derive(self, use: str) -> bytes:
        """32 bytes for one use, from which neither SECRET_KEY nor another use's key follows."""
        return hmac.digest(self.secret_key, use.encode(), hashlib.sha256)

    def _cipher(self) -> AESGCM:
        return AESGCM(self.derive("secrets at rest"))
