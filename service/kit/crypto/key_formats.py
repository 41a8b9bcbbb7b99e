"""Formats of secrets and public keys: `whsec_…`, `whpk_…`, Base64, hex and plain text.

Every parser gives the bytes that a text stands for, and raises ValueError with the rule, never
with the text.
"""

import base64
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every such secret begins with
PUBLIC_KEY_PREFIX: Final = "whpk_"
SECRET_SIZES: Final = range(24, 65)  # bytes; Standard Webhooks, "Signature scheme"
OTHER_SECRET_SIZES: Final = range(16, 513)  # bytes, of other schemes: 128 bits are beyond guessing
PUBLIC_KEY_BYTES: Final = 32  # RFC 8032, section 5.1.5
PLAIN_TEXT: Final = re.compile(r"[!-~]{16,512}")
URL_SAFE_TO_STANDARD: Final = str.maketrans("-_", "+/")  # RFC 4648, section 5 to section 4
P: Final = 2**255 - 19  # `p` and `d` of the field and the curve of ed25519: RFC 8032, section 5.1
D: Final = -121665 * pow(121666, -1, P) % P

KeyParser = Callable[[str], bytes]


def parse_whsec(text: str) -> bytes:
    """The key of a `whsec_…` text, padded or not."""
    what = "a webhook secret"
    return _check_size(_after_prefix(SECRET_PREFIX, text, what), SECRET_SIZES, what)


def format_whsec(key: bytes) -> str:
    """The `whsec_…` text of a key."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def format_whpk(public_key: bytes) -> str:
    """The `whpk_…` text of an ed25519 public key."""
    return PUBLIC_KEY_PREFIX + base64.b64encode(public_key).decode()


def parse_plain_text(text: str) -> bytes:
    """The text itself, not decoded."""
    if not PLAIN_TEXT.fullmatch(text):
        raise ValueError("a secret text is 16 to 512 visible ASCII characters")
    return text.encode()


def _parse_base64_secret(text: str) -> bytes:
    return _check_size(_decode_base64(text, "a key"), OTHER_SECRET_SIZES, "a key")


def _parse_hex_secret(text: str) -> bytes:
    return _check_size(_decode_hex(text), OTHER_SECRET_SIZES, "a key")


def _parse_whpk(text: str) -> bytes:
    return _check_public_key(_after_prefix(PUBLIC_KEY_PREFIX, text, "a public key"))


def _parse_base64_public_key(text: str) -> bytes:
    return _check_public_key(_decode_base64(text, "a public key"))  # as `x` stands in a JWKS


def _parse_hex_public_key(text: str) -> bytes:
    return _check_public_key(_decode_hex(text))


SECRET_PARSERS: Final[Mapping[str, KeyParser]] = MappingProxyType(
    {
        "whsec": parse_whsec,
        "base64": _parse_base64_secret,
        "hex": _parse_hex_secret,
        "text": parse_plain_text,
    }
)
PUBLIC_KEY_PARSERS: Final[Mapping[str, KeyParser]] = MappingProxyType(
    {"whpk": _parse_whpk, "base64": _parse_base64_public_key, "hex": _parse_hex_public_key}
)


def _after_prefix(prefix: str, text: str, what: str) -> bytes:
    """The bytes in standard Base64 behind the prefix."""
    if not text.startswith(prefix):
        raise ValueError(f"{what} starts with {prefix}")
    try:
        return _pad_and_decode(text.removeprefix(prefix))
    except ValueError:
        raise ValueError(f"{what} is Base64 after {prefix}") from None


def _decode_base64(text: str, what: str) -> bytes:
    """The bytes in Base64, standard or URL-safe."""
    try:
        return _pad_and_decode(text.translate(URL_SAFE_TO_STANDARD))
    except ValueError:
        raise ValueError(f"{what} is Base64") from None


def _pad_and_decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _decode_hex(text: str) -> bytes:
    try:
        return base64.b16decode(text, casefold=True)
    except ValueError:
        raise ValueError("a key is hex digits") from None


def _check_size(key: bytes, allowed: range, what: str) -> bytes:
    if len(key) not in allowed:
        raise ValueError(f"{what} has {allowed[0]} to {allowed[-1]} bytes")
    return key


def _check_public_key(key: bytes) -> bytes:
    if len(key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"a public key has {PUBLIC_KEY_BYTES} bytes")
    if not _has_large_order(key):
        msg = "a public key is a point of ed25519, and none of the eight that anybody can sign for"
        raise ValueError(msg)
    return key


def _has_large_order(key: bytes) -> bool:
    """Whether these bytes are a point of the curve, and not one of small order.

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
