"""Our subjects as the provider's tasks: for its own paths, and for a caller's own callback_url."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from service.core.messages import older_record
from service.core.request_rules import IMAGE_LIST, VIDEO_LIST
from service.core.results import images, videos
from service.core.subjects import Subject

LONG = re.compile(r"[1-9][0-9]{18,}")  # what messages.py leaves as text: more than 63 bits


def callback_body(shown: Mapping[str, Any], media: Mapping[str, Any]) -> bytes:
    """What is sent for an event of a subject: the provider's older task record, as its own
    callbacks have it. `shown` is the public subject that is stored for the event, `media` is from
    `media_of`; the same give the same bytes.
    """
    return orjson.dumps(task_record(shown, media))


def task_record(shown: Mapping[str, Any], media: Mapping[str, Any]) -> dict[str, Any]:
    """The older task record of a public subject, for orjson: `element_id` keeps all its digits."""
    record = older_record(shown)
    for element in record.get("task_result", {}).get("elements", ()):
        element["element_id"] = _number(element["element_id"])
        element.update(media)
    return record


def media_of(subject: Subject | None) -> dict[str, Any]:
    """The media of a subject that was made, by the URLs that the provider names, else by those of
    the request. What was sent as Base64 has none there: it is left out, as nobody can fetch it from
    us, and would be too large to repeat. A list without any is None.
    """
    made, given = ({}, {}) if subject is None else (subject.result or {}, subject.document)
    return {
        name: read(made.get(name)) or read(given.get(name)) or None
        for name, read in ((IMAGE_LIST, images), (VIDEO_LIST, videos))
    }


def _number(id_: str | int) -> str | int | orjson.Fragment:
    """An id of digits as a JSON number, however many there are."""
    if isinstance(id_, str) and LONG.fullmatch(id_):
        return orjson.Fragment(id_)
    return id_
