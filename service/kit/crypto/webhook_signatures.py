"""Signatures of the Standard Webhooks specification.

The signed content is `{id}.{timestamp}.{raw body}`. A `v1` signature is its HMAC-SHA256 under a
`whsec_` key; a `v1a` signature is ed25519 under a seed, whose `whpk_` public key anybody may know.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.kit.text import encode_base64url

NEW_SECRET_BYTES = 32  # of new secrets; as many as HMAC-SHA256 puts out: RFC 2104, section 3
SEED_BYTES = 32  # RFC 8032, section 5.1.5
MAX_LOADED_KEYS = 4096  # private keys; loading one takes as long as signing with it


def public_key_from_seed(seed: bytes) -> bytes:
    """The ed25519 public key (32 bytes) of a seed of SEED_BYTES."""
    return _private_key(seed).public_key().public_bytes_raw()


def jwk_thumbprint(public_key: bytes) -> str:
    """The key id (`kid`) of an ed25519 public key: its JWK thumbprint, RFC 7638 and RFC 8037."""
    members = f'{{"crv":"Ed25519","kty":"OKP","x":"{encode_base64url(public_key)}"}}'
    return encode_base64url(hashlib.sha256(members.encode()).digest())


def jwk(public_key: bytes) -> dict[str, str]:
    """An ed25519 public key as an entry of a JWKS: RFC 8037, section 2."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": encode_base64url(public_key),
        "use": "sig",
        "alg": "EdDSA",
        "kid": jwk_thumbprint(public_key),
    }


def signature_headers(
    keys: Iterable[bytes],
    message_id: str,
    timestamp: int,
    body: bytes,
    *,
    seeds: Iterable[bytes] = (),
) -> dict[str, str]:
    """The three headers of a signed message: its id, its time in Unix seconds, and its signatures:
    a `v1` of every key, then a `v1a` of every seed. There are several while a secret is rotated."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [
        *(f"v1,{_base64(hmac.digest(key, content, hashlib.sha256))}" for key in keys),
        *(f"v1a,{_base64(_private_key(seed).sign(content))}" for seed in seeds),
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


@lru_cache(MAX_LOADED_KEYS)
def _private_key(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
