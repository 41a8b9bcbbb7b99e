"""Secrets at rest: sealed with AES-256-GCM under a key derived from SECRET_KEY.

A sealed value is a version, a nonce, and what AES-GCM gives. It does not name its key: while
SECRET_KEY changes, every key known is tried.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE_BYTES = 12  # NIST SP 800-38D, section 5.2.1.1
SECRETS_AT_REST = "secrets at rest"


class DecryptionError(Exception):
    """The secret cannot be opened: was SECRET_KEY changed?"""

    def __str__(self) -> str:
        return str(self.__doc__)


@dataclass(frozen=True, slots=True)
class Encryptor:
    """Seals and opens. `context` is bound in: what was sealed for one owner opens for no other.

    `old_keys` open too, but seal nothing any more.
    """

    secret_key: bytes = field(repr=False)
    random_bytes: Callable[[int], bytes]
    previous_keys: tuple[bytes, ...] = field(default=(), repr=False)

    def encrypt(self, secret: bytes, context: str) -> bytes:
        nonce = self.random_bytes(NONCE_BYTES)
        return (
            VERSION
            + nonce
            + AESGCM(self.derive(SECRETS_AT_REST)).encrypt(nonce, secret, context.encode())
        )

    def decrypt(self, sealed: bytes, context: str) -> bytes:
        """The secret; Sealed if it was sealed under no key known here, or for another owner."""
        return self._opened(sealed, context)[0]

    def reencrypt(self, sealed: bytes, context: str) -> bytes | None:
        """The same secret sealed under SECRET_KEY; None if it is already. Sealed as `open`."""
        secret, current = self._opened(sealed, context)
        return None if current else self.encrypt(secret, context)

    def derive(self, use: str) -> bytes:
        """32 bytes for one use, from which neither SECRET_KEY nor another use's key follows."""
        return _derive(self.secret_key, use)

    def derive_all(self, use: str) -> tuple[bytes, ...]:
        """The same of every key, that of SECRET_KEY first: what the others made is still known."""
        return tuple(_derive(key, use) for key in (self.secret_key, *self.previous_keys))

    def _opened(self, sealed: bytes, context: str) -> tuple[bytes, bool]:
        """The secret, and whether it is sealed under SECRET_KEY."""
        nonce, content = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if sealed[:1] != VERSION:
            raise DecryptionError
        for place, key in enumerate(self.derive_all(SECRETS_AT_REST)):
            try:
                return AESGCM(key).decrypt(nonce, content, context.encode()), place == 0
            except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
                continue
        raise DecryptionError


def _derive(key: bytes, use: str) -> bytes:
    return hmac.digest(key, use.encode(), hashlib.sha256)


def encryption_context(owner_id: str, what: str = "") -> str:
    """What an encrypted value of a subscriber, an account or an API key is bound to: its owner's
    id, and `what` it is: seed, headers or credentials; empty for the secret itself."""
    return f"{owner_id} {what}" if what else owner_id
