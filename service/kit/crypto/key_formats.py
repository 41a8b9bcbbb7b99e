"""Secrets and public keys: the bytes that a text stands for.

Every reader raises ValueError for what is none; it says the rule, never the text.
"""

import base64
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

PREFIX = "whsec_"
PUBLIC_PREFIX = "whpk_"
KEY_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme": 24 to 64 bytes
ANY_BYTES = range(16, 513)  # of other schemes: from 128 bits, beyond guessing
PUBLIC_BYTES = range(32, 33)  # RFC 8032, section 5.1.5
TEXT = re.compile(r"[!-~]{16,512}")
STANDARD = str.maketrans("-_", "+/")  # RFC 4648, section 5 to section 4
P = 2**255 - 19  # the field and the curve of ed25519: RFC 8032, section 5.1
D = -121665 * pow(121666, -1, P) % P

Reader = Callable[[str], bytes]


def whsec(text: str) -> bytes:
    """The key of a `whsec_…` text, padded or not."""
    what = "a webhook secret"
    return _sized(_base64(_after(PREFIX, text, what), what, f" after {PREFIX}"), KEY_BYTES, what)


def plain_text(text: str) -> bytes:
    """The text itself, not decoded."""
    if not TEXT.fullmatch(text):
        msg = "a secret text is 16 to 512 visible ASCII characters"
        raise ValueError(msg)
    return text.encode()


def _base64_key(text: str) -> bytes:
    return _sized(_base64(text.translate(STANDARD), "a key"), ANY_BYTES, "a key")


def _hex_key(text: str) -> bytes:
    return _sized(_hex(text), ANY_BYTES, "a key")


def _whpk(text: str) -> bytes:
    what = "a public key"
    return _public(_base64(_after(PUBLIC_PREFIX, text, what), what, f" after {PUBLIC_PREFIX}"))


def _public_base64(text: str) -> bytes:
    return _public(_base64(text.translate(STANDARD), "a public key"))  # so stands `x` in a JWKS


def _public_hex(text: str) -> bytes:
    return _public(_hex(text))


SECRETS: Mapping[str, Reader] = MappingProxyType(
    {"whsec": whsec, "base64": _base64_key, "hex": _hex_key, "text": plain_text}
)
PUBLIC_KEYS: Mapping[str, Reader] = MappingProxyType(
    {"whpk": _whpk, "base64": _public_base64, "hex": _public_hex}
)


def _after(prefix: str, text: str, what: str) -> str:
    if not text.startswith(prefix):
        msg = f"{what} starts with {prefix}"
        raise ValueError(msg)
    return text.removeprefix(prefix)


def _base64(text: str, what: str, where: str = "") -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        msg = f"{what} is Base64{where}"
        raise ValueError(msg) from None


def _hex(text: str) -> bytes:
    try:
        return base64.b16decode(text, casefold=True)
    except ValueError:
        msg = "a key is hex digits"
        raise ValueError(msg) from None


def _sized(key: bytes, allowed: range, what: str) -> bytes:
    if len(key) not in allowed:
        msg = f"{what} has {allowed[0]} to {allowed[-1]} bytes"
        raise ValueError(msg)
    return key


def _public(key: bytes) -> bytes:
    if len(key) not in PUBLIC_BYTES:
        msg = f"a public key has {PUBLIC_BYTES[0]} bytes"
        raise ValueError(msg)
    if not _is_point(key):
        msg = "a public key is a point of ed25519, and none of the eight that anybody can sign for"
        raise ValueError(msg)
    return key


def _is_point(key: bytes) -> bool:
    """Whether these bytes are a point of the curve of more than small order.

    The cryptography package loads any 32 bytes, and under a point of small order there are
    signatures that hold for every message.
    """
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    if y >= P or pow(_x_squared(y), (P - 1) // 2, P) != 1:  # Euler's criterion; x = 0 is small too
        return False
    for _ in range(3):  # eight times the point: the identity, y = 1, for those of small order
        x_squared, y_squared = _x_squared(y), y * y
        y = (y_squared + x_squared) * pow(2 + x_squared - y_squared, -1, P) % P
    return y != 1


def _x_squared(y: int) -> int:
    return (y * y - 1) * pow(D * y * y + 1, -1, P) % P
