"""Requests to the provider: the paths of its calls, and the JSON body of a create."""

import base64
from collections.abc import Mapping
from typing import Any

PATH = "/v1/general/advanced-custom-elements"  # rule P2 of service/provider/README.md
# Rule P5: the two do the same, and the first is named as the calls of PATH are.
DELETE_PATH = "/v1/general/delete-advanced-elements"
OTHER_DELETE_PATH = "/v1/general/delete-elements"


def create_body(
    document: Mapping[str, Any],
    inline: Mapping[str, bytes],
    *,
    external_task_id: str,
    callback_url: str,
) -> dict[str, Any]:
    """Build the body of a create: the caller's document with our own id and callback URL.

    `inline` holds the bytes of each image that the document names by its hash; they are sent in
    Base64 without a `data:` prefix (rule P15).
    """
    body = {name: _with_base64(value, inline) for name, value in document.items()}
    return body | {"external_task_id": external_task_id, "callback_url": callback_url}


def has_inline(document: object) -> bool:
    """Whether the document names any image by the hash of its bytes, which are stored apart."""
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
        case {"media": str(content_hash)}:
            return base64.b64encode(inline[content_hash]).decode()
        case dict():
            return {name: _with_base64(member, inline) for name, member in value.items()}
        case list():
            return [_with_base64(entry, inline) for entry in value]
        case _:
            return value
