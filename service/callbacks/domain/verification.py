"""Signature verification: whether a callback is what its source sent, and not a replay.

Checked are the signature or shared secret, and the age of the timestamp, by the public Standard
Webhooks specification and rules P74 to P78 of service/provider/README.md.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from service.callbacks.domain.signature_schemes import (
    HEADER_PLACEHOLDER,
    V1,
    Ed25519,
    Hmac,
    Scheme,
    SharedSecret,
    Unsigned,
)
from service.kit.errors import SignatureError

TIMESTAMP_TOLERANCE = 300  # seconds either way, as Standard Webhooks has it: replay protection
MAX_MESSAGE_ID = 255  # characters; ours are 34 at most, the provider's about 20
MESSAGE_ID = re.compile(rf"[!-~]{{1,{MAX_MESSAGE_ID}}}")
TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")  # in one spelling, as it was signed; to year 33658
MAX_SIGNATURES = 16  # a rotation sends two
MAX_RETAINED = 4096  # characters of one header; sixteen signatures have about 1,500


def verify_signature(  # noqa: PLR0913 - one request's worth
    scheme: Scheme,
    keys: Collection[bytes],
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    *,
    task_id: str | None = None,
    hash_key: bytes | None = None,
) -> str | None:
    """The message id of a callback that is genuine; None where the scheme has no ids.

    SignatureError, and no other error whatever the request holds, if it is not genuine. `keys` are
    the secrets or public keys in force, `headers` have lower-case names, `task_id` is the body's,
    for a scheme that `signs_task_id`. `hash_key` is the key that `retained_headers` hashed these
    headers' secrets with, and None for a live request. Where the scheme has no timestamp,
    deduplication alone protects against replay.
    """
    if isinstance(scheme, Unsigned):
        return None
    if not keys:
        raise SignatureError("No secret is known for this source.")
    if isinstance(scheme, SharedSecret):
        _check_shared_secret(scheme, keys, _required_header(headers, scheme.header), hash_key)
        return None
    message_id = _message_id(scheme, headers)
    values = {
        b"id": message_id.encode(),
        b"timestamp": _timestamp(scheme, headers, now),
        b"body": body,
    } | _other_values(scheme, headers, body, task_id)
    content = scheme.template.content_format % values
    signatures = _signatures(scheme, headers)
    for key in keys:
        if scheme.matches(key, content, signatures):
            return message_id or None
    raise SignatureError("No signature matches.")


def verify_v1(
    keys: Collection[bytes], headers: Mapping[str, str], body: bytes, now: datetime
) -> str:
    """The message id, if any key signed this body as `v1` of Standard Webhooks; else
    SignatureError. `headers` have lower-case names."""
    return verify_signature(V1, keys, headers, body, now) or ""  # V1 has an id: it is never empty


def retained_headers(scheme: Scheme, headers: Mapping[str, str], hash_key: bytes) -> dict[str, str]:
    """The headers that `verify_signature` needs to verify this callback again, with `hash_key`.

    A shared secret is replaced by its keyed hash. A header that is longer than MAX_RETAINED
    characters, or holds what Postgres cannot store, is left out.
    """
    match scheme:
        case Hmac() | Ed25519():
            named = scheme.id_header, scheme.timestamp_header, scheme.signature_header
            return _storable(headers, (*named, *scheme.template.headers))
        case SharedSecret():
            secrets = _storable(headers, [scheme.header])
            return {name: keyed_hash(hash_key, secret) for name, secret in secrets.items()}
        case Unsigned():
            return {}


def keyed_hash(key: bytes, secret: str) -> str:
    """The keyed hash that is stored in place of a secret, in hex: it cannot be sent instead."""
    return hmac.digest(key, secret.encode(errors="replace"), hashlib.sha256).hex()


def _storable(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    present = ((name, headers[name]) for name in names if name and name in headers)
    # Printable text holds no NUL and no half of a surrogate pair, which Postgres cannot store.
    return {
        name: text for name, text in present if len(text) <= MAX_RETAINED and text.isprintable()
    }


def _check_shared_secret(
    scheme: SharedSecret, keys: Iterable[bytes], value: str, hash_key: bytes | None
) -> None:
    for key in keys:
        expected = scheme.prefix + key.decode("latin-1")
        if hash_key is not None:
            expected = keyed_hash(hash_key, expected)
        if hmac.compare_digest(_as_bytes(expected), _as_bytes(value)):
            return
    raise SignatureError("The shared secret does not match.")


def _message_id(scheme: Hmac | Ed25519, headers: Mapping[str, str]) -> str:
    """The message id; empty where the scheme has none."""
    if not scheme.id_header:
        return ""
    message_id = headers.get(scheme.id_header, "")
    if not MESSAGE_ID.fullmatch(message_id):
        raise SignatureError(f"The header {scheme.id_header} is missing or is not a message id.")
    return message_id


def _timestamp(scheme: Hmac | Ed25519, headers: Mapping[str, str], now: datetime) -> bytes:
    """The timestamp as it was signed; empty where the scheme has none."""
    name = scheme.timestamp_header
    if not name:
        return b""
    text = headers.get(name, "")
    if not TIMESTAMP.fullmatch(text):
        raise SignatureError(f"The header {name} is missing or is not a time in Unix seconds.")
    if abs(now.timestamp() - int(text)) > TIMESTAMP_TOLERANCE:
        raise SignatureError(f"The time in the header {name} is too far from now.")
    return text.encode()


def _other_values(
    scheme: Hmac | Ed25519, headers: Mapping[str, str], body: bytes, task_id: str | None
) -> dict[bytes, bytes]:
    """The values of the placeholders that few templates have."""
    values = {}
    for name in scheme.template.names:
        if name == "body_sha256":
            values[name.encode()] = hashlib.sha256(body).hexdigest().encode()
        elif name == "task_id":
            if not task_id:
                raise SignatureError("The body names no task.")
            values[name.encode()] = _as_bytes(task_id)
        elif name.startswith(HEADER_PLACEHOLDER):
            header = name.removeprefix(HEADER_PLACEHOLDER)
            values[name.encode()] = _header_bytes(headers, header)
    return values


def _signatures(scheme: Hmac | Ed25519, headers: Mapping[str, str]) -> list[bytes]:
    """The first signatures that have the scheme's label, without it.

    Where the header came in several lines, a proxy may have joined them by commas (RFC 9110,
    section 5.3), whatever the scheme's own separator is.
    """
    value = _required_header(headers, scheme.signature_header)
    items = value.split(scheme.separator, MAX_SIGNATURES)[:MAX_SIGNATURES]
    split = [_split_joined(item, scheme.label) for item in items]
    first = [signatures[0] for signatures in split if signatures]
    joined = [signature for signatures in split for signature in signatures[1:]]
    # The joined ones come last, since they may be garbage that would use up the bound.
    found = [_as_bytes(text) for text in (*first, *joined[:MAX_SIGNATURES])]
    return [text.lower() for text in found] if scheme.encoding == "hex" else found


def _split_joined(item: str, label: str) -> list[str]:
    """The signatures in an item that may be several, joined by commas, each behind its label. Many
    labels have a comma in them; no signature has."""
    joined = f",{item}".replace(", ", ",").split(f",{label.replace(', ', ',')}")
    return [behind.partition(",")[0] for behind in joined[1:]]


def _header_bytes(headers: Mapping[str, str], name: str) -> bytes:
    try:
        return _required_header(headers, name).encode("latin-1")  # as servers decode headers
    except UnicodeEncodeError:
        raise SignatureError(f"The header {name} has characters that no header can have.") from None


def _required_header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise SignatureError(f"The header {name} is missing.")
    return value


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # different texts never give the same bytes
