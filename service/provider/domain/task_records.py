"""Our subjects as the provider's tasks: for its own paths, and for a caller's own callback_url.

A record is of the older shape (rules P7, P9 and P33 to P35 of service/provider/README.md). Our id
stands as `task_id`, the caller's as `external_task_id`, and `element_id` is a number. It is for
orjson alone, which writes every digit of that number.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from service.kit.timestamps import to_milliseconds
from service.provider.domain.results import read_image_list, read_video_list
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO_LIST
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import Subject

DECIMAL = re.compile(r"[1-9][0-9]*")
STATUS_OF_STATE = MappingProxyType(  # how our states read there
    {
        "queued": "submitted",
        "submitting": "submitted",
        "unconfirmed": "submitted",
        "submitted": "submitted",
        "processing": "processing",
        "succeeded": "succeed",
        "failed": "failed",
        "canceled": "failed",
    }
)


def task_record(subject: Subject) -> dict[str, Any]:
    """The task record of a subject as it is now."""
    return _record(public_subject(subject), subject, subject.created_at, subject.updated_at)


def callback_body(shown: Mapping[str, Any], subject: Subject | None) -> bytes:
    """The body of the provider's callback for an event of a subject: the task record.

    `shown` is the public subject that is stored in the event, and `subject` the row that names its
    media, needed only if it was made. The same give the same bytes.
    """
    created_at, updated_at = map(datetime.fromisoformat, (shown["created_at"], shown["updated_at"]))
    return orjson.dumps(_record(shown, subject, created_at, updated_at))


def _record(
    shown: Mapping[str, Any], subject: Subject | None, created_at: datetime, updated_at: datetime
) -> dict[str, Any]:
    canceled = shown["state"] == "canceled"
    record: dict[str, Any] = {
        "task_id": shown["id"],
        "task_status": STATUS_OF_STATE[shown["state"]],
        "task_status_msg": "canceled" if canceled else (shown["error"] or {}).get("message", ""),
        "task_info": {"external_task_id": shown["external_task_id"] or ""},
        "created_at": to_milliseconds(created_at),
        "updated_at": to_milliseconds(updated_at),
    }
    if (made := shown["subject"]) is not None:
        record["task_result"] = {"elements": [_element(shown, made) | _media(subject)]}
        if "final_unit_deduction" in made:
            record["final_unit_deduction"] = made["final_unit_deduction"]
    return record


def _element(shown: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    id_ = made["element_id"]
    element = {
        "element_id": orjson.Fragment(id_) if DECIMAL.fullmatch(id_) else id_,
        "element_name": shown["element_name"],
        "element_description": shown["element_description"],
        "reference_type": shown["reference_type"],
        "tag_list": made.get("tags", []),
        "owned_by": made.get("owned_by", ""),
        "status": "succeed",
    }
    return element | ({"element_voice_info": made["voice"]} if "voice" in made else {})


def _media(subject: Subject | None) -> dict[str, Any]:
    """The media by the URLs that the provider names, else by those of the request.

    What was sent as Base64 has none there: it is left out, as nobody can fetch it from us, and
    would be too large to repeat. A list without any is None.
    """
    made, given = ({}, {}) if subject is None else (subject.result or {}, subject.document)
    return {
        name: read(made.get(name)) or read(given.get(name)) or None
        for name, read in ((IMAGE_LIST, read_image_list), (VIDEO_LIST, read_video_list))
    }
