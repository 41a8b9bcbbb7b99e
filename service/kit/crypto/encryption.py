"""Encryption at rest: secrets are encrypted with AES-256-GCM under a key derived from SECRET_KEY.

An encrypted value is a version, a nonce, and what AES-GCM returns. It does not name its key: while
SECRET_KEY is rotated, every known key is tried.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE_BYTES = 12  # NIST SP 800-38D, section 5.2.1.1
SECRETS_AT_REST = "secrets at rest"  # purpose of the key; another text would decrypt nothing stored


class DecryptionError(Exception):
    """The secret cannot be decrypted: was SECRET_KEY changed?"""

    def __str__(self) -> str:
        return str(self.__doc__)


@dataclass(frozen=True, slots=True)
class Encryptor:
    """Encrypts and decrypts secrets, each for a context: what was encrypted for one owner cannot be
    decrypted for another."""

    secret_key: bytes = field(repr=False)  # SECRET_KEY: encrypts and decrypts
    random_bytes: Callable[[int], bytes]  # so many random bytes, for nonces
    previous_keys: tuple[bytes, ...] = field(default=(), repr=False)  # decrypt only

    def encrypt(self, secret: bytes, context: str) -> bytes:
        """The secret encrypted under SECRET_KEY."""
        nonce = self.random_bytes(NONCE_BYTES)
        cipher = AESGCM(self.derive(SECRETS_AT_REST))
        return VERSION + nonce + cipher.encrypt(nonce, secret, context.encode())

    def decrypt(self, encrypted: bytes, context: str) -> bytes:
        """The secret; DecryptionError if no known key encrypted it, or another context was used."""
        return self._decrypt(encrypted, context)[0]

    def reencrypt(self, encrypted: bytes, context: str) -> bytes | None:
        """The secret encrypted under SECRET_KEY, None if it already is; DecryptionError if it
        cannot be decrypted."""
        secret, is_current = self._decrypt(encrypted, context)
        return None if is_current else self.encrypt(secret, context)

    def derive(self, purpose: str) -> bytes:
        """The key of 32 bytes for a purpose, derived from SECRET_KEY. Neither SECRET_KEY nor the
        key for another purpose follows from it."""
        return _derive(self.secret_key, purpose)

    def derive_all(self, purpose: str) -> tuple[bytes, ...]:
        """The keys for a purpose derived from all known keys, SECRET_KEY's first, so that what was
        made under previous ones is still recognised."""
        return tuple(_derive(key, purpose) for key in (self.secret_key, *self.previous_keys))

    def _decrypt(self, encrypted: bytes, context: str) -> tuple[bytes, bool]:
        """The secret, and whether it is encrypted under SECRET_KEY."""
        nonce, content = encrypted[1 : 1 + NONCE_BYTES], encrypted[1 + NONCE_BYTES :]
        if encrypted[:1] != VERSION:
            raise DecryptionError
        for index, key in enumerate(self.derive_all(SECRETS_AT_REST)):
            try:
                return AESGCM(key).decrypt(nonce, content, context.encode()), index == 0
            except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
                continue
        raise DecryptionError


def _derive(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode(), hashlib.sha256)


def encryption_context(owner_id: str, what: str = "") -> str:
    """The context of an encrypted value: its owner's id, and what it is where the owner has several
    (seed, headers or credentials; empty for the secret itself). It is persisted in the value."""
    return f"{owner_id} {what}" if what else owner_id
