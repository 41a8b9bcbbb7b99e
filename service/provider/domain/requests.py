"""What is asked of the provider: the path of its calls, and the body of a create."""

import base64
from collections.abc import Mapping
from typing import Any

PATH = "/v1/general/advanced-custom-elements"  # rule P2 of service/provider/README.md


def create_body(
    document: Mapping[str, Any],
    inline: Mapping[str, bytes],
    *,
    external_task_id: str,
    callback_url: str,
) -> dict[str, Any]:
    """What is posted to the provider: the caller's document under our own id and callback URL.

    Base64 goes without a `data:` prefix (rule P15); `inline` holds the bytes of every image that
    the document names by its hash.
    """
    ours = {"external_task_id": external_task_id, "callback_url": callback_url}
    return {name: _with_base64(value, inline) for name, value in document.items()} | ours


def has_inline(document: object) -> bool:
    """Whether any image of the document stands as the hash of bytes kept apart."""
    match document:
        case {"media": str()}:
            return True
        case dict():
            return any(has_inline(member) for member in document.values())
        case list():
            return any(has_inline(entry) for entry in document)
        case _:
            return False


def _with_base64(value: object, inline: Mapping[str, bytes]) -> object:
    match value:
        case {"media": str(key)}:
            return base64.b64encode(inline[key]).decode()
        case dict():
            return {name: _with_base64(member, inline) for name, member in value.items()}
        case list():
            return [_with_base64(entry, inline) for entry in value]
        case _:
            return value
