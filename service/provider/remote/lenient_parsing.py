"""Lenient parsing of the provider's answers: decompression, codes in odd forms, excerpts for logs.

Rule P97 of service/provider/README.md.
"""

import re
import zlib
from typing import Final

from service.kit.errors import Malformed
from service.kit.text import escape_unprintable

MAX_EXCERPT: Final = 200  # characters
_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952, 2.3.1; no JSON begins so
_GZIP_WINDOW_BITS: Final = (31,)  # zlib's way to ask for gzip
# RFC 9110, 8.4.1.2: with zlib's header, which some senders leave out.
_DEFLATE_WINDOW_BITS: Final = (15, -15)
_CODE: Final = re.compile(r"\s*(-?[0-9]{1,30})\s*", re.ASCII)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# What may be a key, a token or a signed URL.
_LONG_WORD: Final = re.compile(r"[!#-&(-+./0-9:;=?@A-Z\\^-z|~-]{20,}")


def decompress(raw: bytes, content_encoding: str, max_bytes: int) -> bytes:
    """Undo gzip or deflate; what cannot be decompressed is returned as it came.

    Raises Malformed for more than `max_bytes`, before or after.
    """
    attempts: tuple[int, ...] = ()
    if raw.startswith(_GZIP_MAGIC):
        attempts = _GZIP_WINDOW_BITS
    elif "deflate" in content_encoding.lower():
        attempts = _DEFLATE_WINDOW_BITS
    inflated = (_inflate(raw, window_bits, max_bytes) for window_bits in attempts)
    content = next(filter(None, inflated), raw)
    if len(content) > max_bytes:
        raise Malformed(f"The body has more than {max_bytes} bytes.")
    return content


def _inflate(raw: bytes, window_bits: int, max_bytes: int) -> bytes | None:
    decompressor = zlib.decompressobj(window_bits)
    try:
        content = decompressor.decompress(raw, max_bytes + 1)
    except zlib.error:
        return None
    return content if decompressor.eof or len(content) > max_bytes else None


def read_code(value: object) -> int:
    """Read an envelope's code, a whole number or its digits as a text; raises Malformed for all
    else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _CODE.fullmatch(value)):
        return int(match[1])
    raise Malformed("The body has no code.")


def read_request_id(value: object) -> str | None:
    """Read the provider's name of a call; None for what is no such name, and might be anything."""
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None


def log_excerpt(text: str) -> str:
    """The beginning of a stranger's text for a log: one line, without long words, as those may be
    keys, tokens or signed URLs."""
    return escape_unprintable(_LONG_WORD.sub("…", text).encode(errors="replace"))[:MAX_EXCERPT]
