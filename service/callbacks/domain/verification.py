"""Whether a callback can be believed: its signature, its timestamp, its secret.

What is read from outside is checked here, and nothing but SignatureError gets out. The schemes
are those of the public Standard Webhooks specification and of rules P74 to P78.
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

TOLERANCE = 300  # seconds either way; Standard Webhooks, "Verifying the timestamp"
MAX_ID = 255  # characters; ours are 34 at most, the provider's about 20
VISIBLE_ID = re.compile(rf"[!-~]{{1,{MAX_ID}}}")
TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")  # in one spelling, as it was signed; to year 33658
MAX_SIGNATURES = 16  # a rotation sends two
MAX_KEPT = 4096  # characters of one header; sixteen signatures have some 1,500


def verify(  # noqa: PLR0913 - one request's worth
    scheme: Scheme,
    keys: Collection[bytes],
    received: Mapping[str, str],
    body: bytes,
    now: datetime,
    *,
    task_id: str | None = None,
    hash_key: bytes | None = None,
) -> str | None:
    """The message id, None where the scheme has none; SignatureError if it cannot be believed.

    `received` has lower-case header names. Nothing but SignatureError gets out, whatever the
    headers and the body hold; a malformed signature beside a good one does no harm. `task_id` is
    the body's, for a scheme that `reads_body`. `hash_key` is that of the headers that
    `retained_headers` gave; None for a live request, always. A scheme without a timestamp leaves
    replays to deduplication.
    """
    if isinstance(scheme, Unsigned):
        return None
    if not keys:
        raise SignatureError("no secret is known for this source")
    if isinstance(scheme, SharedSecret):
        _check_shared(scheme, keys, _present(received, scheme.header), hash_key)
        return None
    message_id = _message_id(scheme, received)
    timestamp = _timestamp(scheme, received, now)
    values = {b"id": message_id.encode(), b"timestamp": timestamp, b"body": body}
    if scheme.further:
        values |= _further(scheme, received, body, task_id)
    content, offered = scheme.template.frame % values, _offered(scheme, received)
    for key in keys:
        if scheme.matches(key, content, offered):
            return message_id or None
    raise SignatureError("no signature matches")


def verify_v1(
    keys: Collection[bytes], received: Mapping[str, str], body: bytes, now: datetime
) -> str:
    """The message id, if any key signed these bytes as a `v1` of Standard Webhooks; `received` has
    lower-case header names. SignatureError if the message cannot be believed."""
    return verify(V1, keys, received, body, now) or ""  # V1 has an id, so there always is one


def retained_headers(
    scheme: Scheme, received: Mapping[str, str], hash_key: bytes
) -> dict[str, str]:
    """The headers that `verify` with the same `hash_key` needs to verify this callback again.

    The keyed hash of a shared secret stands in its place. A header that
    is too long to keep, or holds what none should, is left out.
    """
    match scheme:
        case Hmac() | Ed25519():
            named = scheme.id_header, scheme.timestamp_header, scheme.signature_header
            return _fit(received, (*named, *scheme.template.headers))
        case SharedSecret():
            fit = _fit(received, [scheme.header])
            return {name: keyed_hash(hash_key, value) for name, value in fit.items()}
        case Unsigned():
            return {}


def keyed_hash(key: bytes, secret: str) -> str:
    """What is kept in the place of a secret, in hex: whoever reads it cannot send it."""
    return hmac.digest(key, secret.encode(errors="replace"), hashlib.sha256).hex()


def _fit(received: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    present = ((name, received[name]) for name in names if name and name in received)
    # What prints holds no NUL and no half of a surrogate pair, which no store takes.
    return {name: text for name, text in present if len(text) <= MAX_KEPT and text.isprintable()}


def _check_shared(
    scheme: SharedSecret, keys: Iterable[bytes], value: str, hash_key: bytes | None
) -> None:
    for key in keys:
        expected = scheme.prefix + key.decode("latin-1")
        if hash_key is not None:
            expected = keyed_hash(hash_key, expected)
        if hmac.compare_digest(_raw(expected), _raw(value)):
            return
    raise SignatureError("the shared secret does not match")


def _message_id(scheme: Hmac | Ed25519, received: Mapping[str, str]) -> str:
    """Empty, if the scheme has none."""
    if not scheme.id_header:
        return ""
    value = received.get(scheme.id_header, "")
    if not VISIBLE_ID.fullmatch(value):
        raise SignatureError(f"{scheme.id_header} is missing, or no message id")
    return value


def _timestamp(scheme: Hmac | Ed25519, received: Mapping[str, str], now: datetime) -> bytes:
    """As it was signed; empty, if the scheme has none."""
    if not scheme.timestamp_header:
        return b""
    text = received.get(scheme.timestamp_header, "")
    if not TIMESTAMP.fullmatch(text):
        raise SignatureError(
            f"{scheme.timestamp_header} is missing, or not digits, or has a zero first"
        )
    if abs(now.timestamp() - int(text)) > TOLERANCE:
        raise SignatureError(f"{scheme.timestamp_header} is too far from now")
    return text.encode()


def _further(
    scheme: Hmac | Ed25519, received: Mapping[str, str], body: bytes, task_id: str | None
) -> dict[bytes, bytes]:
    values = {}
    for name in scheme.further:
        if name == "body_sha256":
            value = hashlib.sha256(body).hexdigest().encode()
        elif name == "task_id":
            value = _task(task_id)
        else:
            value = _wire(received, name.removeprefix(HEADER_PLACEHOLDER))
        values[name.encode()] = value
    return values


def _task(task_id: str | None) -> bytes:
    if not task_id:
        raise SignatureError("the body names no task")
    return _raw(task_id)


def _offered(scheme: Hmac | Ed25519, received: Mapping[str, str]) -> list[bytes]:
    """The first signatures under the scheme's own label, without it.

    Where the header came in several lines, or whoever passed it on made one of them, a comma stands
    between (RFC 9110, section 5.3), whatever the scheme's own separator is.
    """
    listed = _present(received, scheme.signature_header)
    first = listed.split(scheme.separator, MAX_SIGNATURES)[:MAX_SIGNATURES]
    items = [_labelled(item, scheme.label) for item in first]
    # Behind the others: these may be garbage.
    joined = [text for item in items for text in item[1:]]
    listed_first = [item[0] for item in items if item]
    offered = [_raw(text) for text in (*listed_first, *joined[:MAX_SIGNATURES])]
    return [text.lower() for text in offered] if scheme.encoding == "hex" else offered


def _labelled(item: str, label: str) -> list[str]:
    """What stands behind each label in an item that may be several, joined by commas; no
    signature has a comma in it, as many labels have."""
    joined = f",{item}".replace(", ", ",").split(f",{label.replace(', ', ',')}")
    return [behind.partition(",")[0] for behind in joined[1:]]


def _wire(received: Mapping[str, str], header: str) -> bytes:
    try:
        return _present(received, header).encode("latin-1")  # as a server decodes what it read
    except UnicodeEncodeError:
        raise SignatureError(f"{header} is not what a header holds") from None


def _present(received: Mapping[str, str], name: str) -> str:
    value = received.get(name, "")
    if not value:
        raise SignatureError(f"{name} is missing")
    return value


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # two texts are never the same bytes
