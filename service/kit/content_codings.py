"""Content codings: what a Content-Encoding may name that changes the bytes of a body."""

from typing import Final

# IANA, "HTTP Content Coding Registry", without `identity`; `x-` ones as RFC 9110, section 8.4.1.
_CODINGS: Final = frozenset(
    {
        *("gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"),
        *("dcb", "dcz", "exi", "pack200-gzip", "aes128gcm"),
    }
)


def is_encoded(content_encoding: str) -> bool:
    """Whether a Content-Encoding says that the bytes are not the content itself.

    Senders write there what names no coding, as a character set: such a word changes no byte.
    """
    return any(word.strip().lower() in _CODINGS for word in content_encoding.split(","))
