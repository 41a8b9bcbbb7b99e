"""Standard Webhooks, as our deliveries are signed, and as the provider's callbacks are.

The scheme is written down in the provider's notes, section 5, and in the public Standard
Webhooks specification: HMAC-SHA256 over `{id}.{timestamp}.{raw body}` under a `whsec_` key.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from service.core import schemes
from service.core.keys import PREFIX, whsec

TOLERANCE = schemes.TOLERANCE


def key_of(secret: str) -> bytes:
    """The key bytes of a `whsec_…` text; ValueError, without the text, if it is not one."""
    return whsec(secret)


def secret_of(key: bytes) -> str:
    """The `whsec_…` text of key bytes."""
    return PREFIX + base64.b64encode(key).decode()


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One `v1,<base64>` over the exact bytes."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed message; two keys while a secret rotates."""
    signatures = [signature(key, message_id, timestamp, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def verify(keys: Iterable[bytes], received: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The message id, if any key signed these bytes as `v1`; else SignatureError (schemes.py)."""
    # V1 has an id, so there always is one.
    return schemes.verify(schemes.V1, tuple(keys), received, body, now) or ""
