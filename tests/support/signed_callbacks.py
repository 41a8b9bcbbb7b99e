"""Callbacks as several providers sign them, made without the code that verifies them."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.callbacks.domain.signature_schemes import Scheme, read_secret
from service.callbacks.domain.sources import read_sources

# As an operator would write it; the sources are those of rule P77.
SETTING = r"""{
  "relay": {"scheme": "v1"},
  "asymmetric": {"scheme": "v1a"},
  "wavespeed": {"scheme": "hmac", "id_header": "webhook-id",
    "timestamp_header": "webhook-timestamp", "signature_header": "webhook-signature",
    "signed": "{id}.{timestamp}.{body}",
    "encoding": "hex", "label": "v3,", "key": "text"},
  "fal": {"scheme": "ed25519", "id_header": "X-Fal-Webhook-Request-Id",
    "timestamp_header": "X-Fal-Webhook-Timestamp", "signature_header": "X-Fal-Webhook-Signature",
    "signed": "{id}\n{header:X-Fal-Webhook-User-Id}\n{timestamp}\n{body_sha256}",
    "encoding": "hex", "key": "base64"},
  "kie": {"scheme": "hmac", "timestamp_header": "X-Webhook-Timestamp",
    "signature_header": "X-Webhook-Signature", "signed": "{task_id}.{timestamp}",
    "encoding": "base64", "key": "text"},
  "body-only": {"scheme": "hmac", "signature_header": "X-Signature", "signed": "{body}",
    "encoding": "hex", "label": "sha512=", "separator": ",", "digest": "sha512", "key": "hex"},
  "piapi": {"scheme": "shared-secret"},
  "bearer": {"scheme": "shared-secret", "header": "Authorization", "prefix": "Bearer "},
  "old": {"scheme": "unsigned"}
}"""
SOURCES = read_sources(SETTING)

TIMESTAMP = 1781080794
NOW = datetime.fromtimestamp(TIMESTAMP, UTC)
BODY = b'{"task_id":"task_1","task_status":"succeed"}'
TASK_ID = "task_1"
KEY = b"k" * 32
SECRET_TEXT = "whsec_this-text-is-not-decoded"
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes_raw()
WHPK = "whpk_" + base64.b64encode(PUBLIC_KEY).decode()
SIGNED_CONTENT = f"msg_1.{TIMESTAMP}.".encode() + BODY


@dataclass(frozen=True)
class SignedCallback:
    """A genuine callback."""

    source: str  # by its name in SETTING
    secret: str  # as an operator writes it; empty for none
    headers: Mapping[str, str]
    message_id: str | None = None  # that the headers carry
    signature: str = ""  # name of the header that lists signatures

    @property
    def scheme(self) -> Scheme:
        return SOURCES[self.source]

    @property
    def keys(self) -> list[bytes]:
        return [read_secret(self.scheme, self.secret)] if self.secret else []


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def standard_headers(signature: str) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(TIMESTAMP),
        "webhook-signature": signature,
    }


def relay() -> SignedCallback:
    signed = "v1," + base64_of(hmac.digest(KEY, SIGNED_CONTENT, "sha256"))
    secret = "whsec_" + base64_of(KEY)
    return SignedCallback("relay", secret, standard_headers(signed), "msg_1", "webhook-signature")


def asymmetric() -> SignedCallback:
    signed = "v1a," + base64_of(PRIVATE_KEY.sign(SIGNED_CONTENT))
    return SignedCallback(
        "asymmetric", WHPK, standard_headers(signed), "msg_1", "webhook-signature"
    )


def wavespeed() -> SignedCallback:
    signed = "v3," + hmac.digest(SECRET_TEXT.encode(), SIGNED_CONTENT, "sha256").hex()
    return SignedCallback(
        "wavespeed", SECRET_TEXT, standard_headers(signed), "msg_1", "webhook-signature"
    )


def fal() -> SignedCallback:
    content = f"req_1\nuser_1\n{TIMESTAMP}\n{hashlib.sha256(BODY).hexdigest()}"
    headers = {
        "x-fal-webhook-request-id": "req_1",
        "x-fal-webhook-user-id": "user_1",
        "x-fal-webhook-timestamp": str(TIMESTAMP),
        "x-fal-webhook-signature": PRIVATE_KEY.sign(content.encode()).hex(),
    }
    x = (
        base64.urlsafe_b64encode(PUBLIC_KEY).decode().rstrip("=")
    )  # as in a JWKS: RFC 8037, section 2
    return SignedCallback("fal", x, headers, "req_1", "x-fal-webhook-signature")


def kie() -> SignedCallback:
    signed = base64_of(
        hmac.digest(SECRET_TEXT.encode(), f"{TASK_ID}.{TIMESTAMP}".encode(), "sha256")
    )
    headers = {"x-webhook-timestamp": str(TIMESTAMP), "x-webhook-signature": signed}
    return SignedCallback("kie", SECRET_TEXT, headers, None, "x-webhook-signature")


def body_only() -> SignedCallback:
    signed = "sha512=" + hmac.digest(KEY, BODY, "sha512").hex()
    return SignedCallback("body-only", KEY.hex(), {"x-signature": signed}, None, "x-signature")


def piapi() -> SignedCallback:
    return SignedCallback("piapi", SECRET_TEXT, {"x-webhook-secret": SECRET_TEXT})


def bearer() -> SignedCallback:
    return SignedCallback("bearer", SECRET_TEXT, {"authorization": f"Bearer {SECRET_TEXT}"})


WITH_SIGNATURE = [relay(), asymmetric(), wavespeed(), fal(), kie(), body_only()]
WITH_SHARED_SECRET = [piapi(), bearer()]
VERIFIABLE = [*WITH_SIGNATURE, *WITH_SHARED_SECRET]
UNSIGNED_CALLBACK = SignedCallback("old", "", {})


def source_of(delivery: SignedCallback) -> str:
    """The source, as the id of a parametrized test."""
    return delivery.source
