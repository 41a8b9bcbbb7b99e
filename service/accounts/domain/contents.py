"""Contents: what people wrote, sent and answered. A key with the scope `operator:read` sees null in
their place, in every answer and every event, wherever they stand."""

import json
from typing import Any, Final

# By the names that members of answers and events have. The one list of what is hidden.
CONTENTS: Final = frozenset(
    {
        *("element_name", "element_description", "callback_url"),  # of a subject
        *("element_image_list", "element_video_list", "trial_url"),  # its media
        *("url", "headers", "description"),  # of a subscriber; of a callback, its headers
        *("body", "body_base64"),  # of a callback
        *("answer",),  # of a delivery attempt
    }
)


def hide_contents(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value with null in place of all contents in it."""
    if isinstance(value, dict):
        return {
            name: None if name in CONTENTS else hide_contents(member)
            for name, member in value.items()
        }
    return [hide_contents(item) for item in value] if isinstance(value, list) else value


def shows_contents(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether any contents are in a JSON value."""
    if isinstance(value, dict):
        return any(
            member is not None if name in CONTENTS else shows_contents(member)
            for name, member in value.items()
        )
    return isinstance(value, list) and any(map(shows_contents, value))


def without_contents(body: bytes) -> bytes:
    """The JSON text of what hide_contents() makes of a JSON text. orjson would round the numbers of
    more than 64 bits that stand in the provider's records."""
    return json.dumps(
        hide_contents(json.loads(body)), ensure_ascii=False, separators=(",", ":")
    ).encode()
