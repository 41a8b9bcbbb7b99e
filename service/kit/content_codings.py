"""Content codings: which values of Content-Encoding change the bytes of a body."""

from typing import Final

# IANA, "HTTP Content Coding Registry", without `identity`; `x-` ones as RFC 9110, section 8.4.1.
_CODINGS: Final = frozenset(
    {
        *("gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"),
        *("dcb", "dcz", "exi", "pack200-gzip", "aes128gcm"),
    }
)


def is_encoded(content_encoding: str) -> bool:
    """Whether a Content-Encoding names a coding, so that the bytes are not the content itself.

    Some senders write other words there, such as a character set: those change no byte.
    """
    return any(word.strip().lower() in _CODINGS for word in content_encoding.split(","))
