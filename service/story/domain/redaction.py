"""What stands in a story in place of contents: sizes, kinds and hashes.

A text of a request has no hash: a name has so few letters that its hash is as good as the name.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from service.media.domain.references import media_references

TEXTS: Final = ("element_name", "element_description", "element_voice_id", "callback_url")
# What a header of a callback may look like to be shown, and which ones are: a signature is none.
SHOWN_HEADERS: Final = ("content-type", "webhook-id", "webhook-timestamp")
MAX_HEADERS: Final = 64
_SHOWN_VALUE: Final = re.compile(r"[A-Za-z0-9._:/;=+ -]{1,128}")
_ERROR_KIND: Final = re.compile(r"[a-z_]{1,32}|status [0-9]{3}")
_REASON: Final = re.compile(r"[A-Za-z0-9 _.,:'-]{1,200}")


def texts(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The texts of a request: which there are, and how long."""
    return [
        {"field": name, "characters": len(document[name])}
        for name in TEXTS
        if isinstance(document.get(name), str)
    ]


def media(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The media of a request: the hash of what was sent, or the length and hash of a URL."""
    return [
        {"field": reference.field, "kind": reference.kind}
        | (
            {"given_by": "content", "sha256": reference.content_hash}
            if reference.url is None
            else {
                "given_by": "address",
                "characters": len(reference.url),
                "sha256": sha256(reference.url.encode()).hexdigest(),
            }
        )
        for reference in media_references(document)
    ]


def error(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A subject's error: its codes, and of its message the size and the hash; None for none."""
    if value is None:
        return None
    message = str(value.get("message", "")).encode()
    return {
        "code": value.get("code"),
        "provider_code": value.get("provider_code"),
        "message_size": len(message),
        "message_sha256": sha256(message).hexdigest(),
    }


def shown_headers(headers: Mapping[str, str], signature_header: str | None) -> dict[str, str]:
    """The headers of a callback that say nothing secret: without that of its signature."""
    return {
        name: value
        for name, value in headers.items()
        if name in SHOWN_HEADERS and name != signature_header and _SHOWN_VALUE.fullmatch(value)
    }


def reason(text: str | None) -> str | None:
    """Why a callback has its verdict, in our words; None for none, and for one that quotes what
    might be anything."""
    quotes = text is not None and ("'" in text or '"' in text)
    return None if text is None or quotes or not _REASON.fullmatch(text) else text


def error_kind(text: str | None) -> str | None:
    """Why an attempt failed, in one word; None: it did not fail."""
    if text is None:
        return None
    return text if _ERROR_KIND.fullmatch(text) else "other"


def kind_of_answer(head: bytes) -> str:
    """What the beginning of an answer looks like: `none`, `json`, `html`, `text` or `binary`."""
    begins = head.lstrip()[:1]
    if not head:
        return "none"
    if begins in (b"{", b"["):
        return "json"
    if begins == b"<":
        return "html"
    return "text" if head.decode(errors="ignore").isprintable() else "binary"
