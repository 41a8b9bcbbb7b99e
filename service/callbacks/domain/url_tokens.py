"""Tokens in callback URLs: each names one subject, and cannot be made without our key (an HMAC)."""

import hashlib
import hmac

from service.kit.text import encode_base64url

SEPARATOR = "."
MAC_BYTES = 16  # 128 bits: beyond guessing


def callback_token(key: bytes, subject_id: str) -> str:
    """The token of a subject: its id and a MAC. `key` is used for nothing else."""
    return subject_id + SEPARATOR + _mac(key, subject_id)


def subject_id_of(key: bytes, token: str) -> str | None:
    """The id of the subject that a token names; None if it was not made with this key."""
    subject_id, _, mac = token.rpartition(SEPARATOR)
    genuine = hmac.compare_digest(
        _mac(key, subject_id).encode(), mac.encode("utf-8", "surrogatepass")
    )
    return subject_id if subject_id and genuine else None


def _mac(key: bytes, subject_id: str) -> str:
    digest = hmac.digest(key, subject_id.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return encode_base64url(digest[:MAC_BYTES])
