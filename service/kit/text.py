"""Texts: strangers' made safe to keep and to show, and bytes written as Base64url."""

import base64

MAX_TEXT = 2000  # characters kept of a stranger's text


def encode_base64url(raw: bytes) -> str:
    """Without padding: RFC 7515, section 2."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_base64url(text: str) -> bytes:
    """The bytes that `base64url` wrote; ValueError for anything else."""
    if "=" in text:
        raise ValueError
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def clean_text(value: object) -> str:
    """A stranger's text, cut, without what Postgres or UTF-8 refuse; "" for no text."""
    text = value[:MAX_TEXT] if isinstance(value, str) else ""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def escape_unprintable(raw: bytes) -> str:
    r"""As text: bytes that are no UTF-8 are replaced, and what does not show (control characters,
    line ends, and those that hide or turn the direction of writing) is spelled out, as \x1b."""
    text = raw.decode(errors="replace")
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )
