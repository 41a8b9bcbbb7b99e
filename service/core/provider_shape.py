"""Our subjects as the provider's tasks: for its own paths, and for a caller's own callback_url."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from service.core.messages import older_record

LONG = re.compile(r"[1-9][0-9]{18,}")  # what messages.py leaves as text: more than 63 bits


def callback_body(event_body: bytes) -> bytes:
    """What is sent for an event of a subject, from the bytes that are stored for it: the provider's
    older task record (provider.md, section 5). The same bytes give the same bytes.
    """
    return orjson.dumps(task_record(orjson.loads(event_body)["data"]))


def task_record(subject: Mapping[str, Any]) -> dict[str, Any]:
    """The older task record of a public subject, for orjson: `element_id` keeps all its digits."""
    record = older_record(subject)
    for element in record.get("task_result", {}).get("elements", ()):
        element["element_id"] = _number(element["element_id"])
    return record


def _number(id_: str | int) -> str | int | orjson.Fragment:
    """An id of digits as a JSON number, however many there are."""
    if isinstance(id_, str) and LONG.fullmatch(id_):
        return orjson.Fragment(id_)
    return id_
