"""Callbacks as several deliverers sign them, made without the code that verifies them."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.callbacks.domain.signature_schemes import Scheme, read_secret
from service.callbacks.domain.sources import read_sources

# As an operator would write it; the deliverers are those of rule P77.
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

AT = 1781080794
NOW = datetime.fromtimestamp(AT, UTC)
BODY = b'{"task_id":"task_1","task_status":"succeed"}'
TASK = "task_1"
KEY = b"k" * 32
TEXT = "whsec_this-text-is-not-decoded"
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
WHPK = "whpk_" + base64.b64encode(PUBLIC).decode()
CONTENT = f"msg_1.{AT}.".encode() + BODY


@dataclass(frozen=True)
class Delivery:
    """A genuine callback: its source, the secret's text, the headers, and the id they carry."""

    source: str
    secret: str
    headers: Mapping[str, str]
    message_id: str | None = None
    signature: str = ""  # the header that lists signatures

    @property
    def scheme(self) -> Scheme:
        return SOURCES[self.source]

    @property
    def keys(self) -> list[bytes]:
        return [read_secret(self.scheme, self.secret)] if self.secret else []


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def standard(signature: str) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(AT),
        "webhook-signature": signature,
    }


def relay() -> Delivery:
    signed = "v1," + base64_of(hmac.digest(KEY, CONTENT, "sha256"))
    secret = "whsec_" + base64_of(KEY)
    return Delivery("relay", secret, standard(signed), "msg_1", "webhook-signature")


def asymmetric() -> Delivery:
    signed = "v1a," + base64_of(PRIVATE.sign(CONTENT))
    return Delivery("asymmetric", WHPK, standard(signed), "msg_1", "webhook-signature")


def wavespeed() -> Delivery:
    signed = "v3," + hmac.digest(TEXT.encode(), CONTENT, "sha256").hex()
    return Delivery("wavespeed", TEXT, standard(signed), "msg_1", "webhook-signature")


def fal() -> Delivery:
    content = f"req_1\nuser_1\n{AT}\n{hashlib.sha256(BODY).hexdigest()}"
    headers = {
        "x-fal-webhook-request-id": "req_1",
        "x-fal-webhook-user-id": "user_1",
        "x-fal-webhook-timestamp": str(AT),
        "x-fal-webhook-signature": PRIVATE.sign(content.encode()).hex(),
    }
    x = base64.urlsafe_b64encode(PUBLIC).decode().rstrip("=")  # as in a JWKS: RFC 8037, section 2
    return Delivery("fal", x, headers, "req_1", "x-fal-webhook-signature")


def kie() -> Delivery:
    signed = base64_of(hmac.digest(TEXT.encode(), f"{TASK}.{AT}".encode(), "sha256"))
    headers = {"x-webhook-timestamp": str(AT), "x-webhook-signature": signed}
    return Delivery("kie", TEXT, headers, None, "x-webhook-signature")


def body_only() -> Delivery:
    signed = "sha512=" + hmac.digest(KEY, BODY, "sha512").hex()
    return Delivery("body-only", KEY.hex(), {"x-signature": signed}, None, "x-signature")


def piapi() -> Delivery:
    return Delivery("piapi", TEXT, {"x-webhook-secret": TEXT})


def bearer() -> Delivery:
    return Delivery("bearer", TEXT, {"authorization": f"Bearer {TEXT}"})


SIGNED = [relay(), asymmetric(), wavespeed(), fal(), kie(), body_only()]
SHARED = [piapi(), bearer()]
PROVEN = [*SIGNED, *SHARED]
UNPROVEN = Delivery("old", "", {})


def named(delivery: Delivery) -> str:
    """For the names of parametrized tests."""
    return delivery.source
