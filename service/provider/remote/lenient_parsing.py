"""An answer of the provider's, read liberally, whether it is packed or not."""

import re
import zlib
from typing import Final

from service.kit.errors import Malformed
from service.kit.text import escape_unprintable

MAX_EXCERPT: Final = 200  # characters of an answer that nobody can read
_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952, 2.3.1; no JSON begins so
_GZIP_WINDOW_BITS: Final = (31,)  # zlib's window bits, for the format too
_DEFLATE_WINDOW_BITS: Final = (
    15,
    -15,
)  # RFC 9110, 8.4.1.2: zlib's format, which some senders leave out
_CODE: Final = re.compile(r"\s*(-?[0-9]{1,30})\s*", re.ASCII)
# What may be a key, a token or a signed URL.
_LONG_WORD: Final = re.compile(r"[!#-&(-+./0-9:;=?@A-Z\\^-z|~-]{20,}")


def decompress(raw: bytes, coding: str, most: int) -> bytes:
    """Without gzip or deflate, at most `most` bytes, or Malformed.

    `coding` is a Content-Encoding. What cannot be unpacked is given back as it came.
    """
    ways: tuple[int, ...] = ()
    if raw.startswith(_GZIP_MAGIC):
        ways = _GZIP_WINDOW_BITS
    elif "deflate" in coding.lower():
        ways = _DEFLATE_WINDOW_BITS
    content = next((found for bits in ways if (found := _inflate(raw, bits, most))), raw)
    if len(content) > most:
        raise Malformed(f"it has more than {most} bytes")
    return content


def _inflate(raw: bytes, bits: int, most: int) -> bytes | None:
    unpacker = zlib.decompressobj(bits)
    try:
        content = unpacker.decompress(raw, most + 1)
    except zlib.error:
        return None
    return content if unpacker.eof or len(content) > most else None


def read_code(value: object) -> int:
    """The envelope's code: a whole number, or one in digits as text. Malformed for all else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (digits := _CODE.fullmatch(value)):
        return int(digits[1])
    raise Malformed("it has no code")


def log_excerpt(text: str) -> str:
    """The first of a text that a stranger wrote, for a log: one line, without long words, as
    those may be keys, tokens or signed URLs."""
    return escape_unprintable(_LONG_WORD.sub("…", text).encode(errors="replace"))[:MAX_EXCERPT]
