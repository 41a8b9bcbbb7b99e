"""Standard Webhooks: what the provider signs, we verify; what we send, we sign.

The scheme is written down in the provider's notes, section 5, and in the public Standard
Webhooks specification: HMAC-SHA256 over `{id}.{timestamp}.{raw body}` under a `whsec_` key.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from service.core.errors import SignatureError

PREFIX = "whsec_"
TOLERANCE = 300  # seconds either way; Standard Webhooks, "Verifying the timestamp"
KEY_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme": 24 to 64 bytes
MAX_ID = 255  # characters; ours are 34 at most, the provider's about 20
MAX_DIGITS = 12  # of a timestamp: the year 33658
MAX_SIGNATURES = 16  # a rotation sends two


def key_of(secret: str) -> bytes:
    """The key bytes of a `whsec_…` text; ValueError, without the text, if it is not one."""
    if not secret.startswith(PREFIX):
        msg = f"a webhook secret starts with {PREFIX}"
        raise ValueError(msg)
    text = secret[len(PREFIX) :]
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        msg = f"a webhook secret is Base64 after {PREFIX}"
        raise ValueError(msg) from None
    if len(key) not in KEY_BYTES:
        msg = f"a webhook secret has {KEY_BYTES[0]} to {KEY_BYTES[-1]} bytes"
        raise ValueError(msg)
    return key


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
    """The message id, if any key signed these bytes within the tolerance; else SignatureError.

    `received` has lower-case header names. Nothing but SignatureError gets out, whatever the
    headers and the body hold; a malformed signature beside a good one does no harm.
    """
    message_id = _present(received, "webhook-id")
    if len(message_id) > MAX_ID or not (message_id.isascii() and message_id.isprintable()):
        raise SignatureError("webhook-id is not a message id")
    timestamp = _timestamp(_present(received, "webhook-timestamp"), now)
    offered = _present(received, "webhook-signature").split(" ")[:MAX_SIGNATURES]
    for key in keys:
        expected = signature(key, message_id, timestamp, body).encode()
        if any(hmac.compare_digest(expected, one.encode("utf-8", "replace")) for one in offered):
            return message_id
    raise SignatureError("no signature matches")


def _present(received: Mapping[str, str], name: str) -> str:
    value = received.get(name, "")
    if not value:
        raise SignatureError(f"{name} is missing")
    return value


def _timestamp(text: str, now: datetime) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise SignatureError("webhook-timestamp is not digits")
    if text != str(int(text)):  # the text is what was signed, and the number is what we sign
        raise SignatureError("webhook-timestamp has leading zeros")
    if abs(now.timestamp() - int(text)) > TOLERANCE:
        raise SignatureError("webhook-timestamp is too far from now")
    return int(text)
