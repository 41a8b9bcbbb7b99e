"""Text of strangers made safe to store and to show, and Base64url."""

import base64

MAX_TEXT = 2000  # characters of a stranger's text that are kept


def encode_base64url(raw: bytes) -> str:
    """Base64url without padding: RFC 7515, section 2."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_base64url(text: str) -> bytes:
    """The bytes of unpadded Base64url; ValueError for anything else."""
    if "=" in text:
        raise ValueError
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def clean_text(value: object) -> str:
    """The first MAX_TEXT characters of a text, with what Postgres or UTF-8 cannot hold replaced;
    "" for a value that is no text."""
    text = value[:MAX_TEXT] if isinstance(value, str) else ""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def escape_unprintable(raw: bytes) -> str:
    r"""UTF-8 bytes as text that is safe to show: invalid bytes are replaced; control characters,
    line ends and what hides or reverses text are spelled out, as \x1b."""
    text = raw.decode(errors="replace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
