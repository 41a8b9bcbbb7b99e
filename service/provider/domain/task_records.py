"""Task records of our subjects, for the provider's own paths and for a request's `callback_url`.

A record has the legacy shape: rules P9 and P33 to P35 of service/provider/README.md. Its `task_id`
is our id, its `external_task_id` the caller's. Its `element_id` is a number (rule P7), every digit
of which orjson alone writes.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from service.kit.timestamps import to_milliseconds
from service.provider.domain.results import read_image_list, read_video_list
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO_LIST
from service.subjects.domain.representation import public_subject
from service.subjects.domain.subject import SubjectView

DECIMAL = re.compile(r"[1-9][0-9]*")
STATUS_OF_STATE: Mapping[State, str] = MappingProxyType(
    {
        State.QUEUED: "submitted",
        State.SUBMITTING: "submitted",
        State.UNCONFIRMED: "submitted",
        State.SUBMITTED: "submitted",
        State.PROCESSING: "processing",
        State.SUCCEEDED: "succeed",
        State.FAILED: "failed",
        State.CANCELED: "failed",
    }
)


def task_record(subject: SubjectView) -> dict[str, Any]:
    """Build the task record of a subject as it is now."""
    return _record(public_subject(subject), subject, subject.created_at, subject.updated_at)


def callback_body(representation: Mapping[str, Any], subject: SubjectView | None) -> bytes:
    """Build the body of a callback in the provider's shape, the same bytes for the same arguments.

    `representation` is the public subject that is stored in the event; `subject` is the row that
    names its media, needed only if the subject was made.
    """
    created_at, updated_at = (
        datetime.fromisoformat(representation[name]) for name in ("created_at", "updated_at")
    )
    return orjson.dumps(_record(representation, subject, created_at, updated_at))


def _record(
    representation: Mapping[str, Any],
    subject: SubjectView | None,
    created_at: datetime,
    updated_at: datetime,
) -> dict[str, Any]:
    state, error = State(representation["state"]), representation["error"] or {}
    record: dict[str, Any] = {
        "task_id": representation["id"],
        "task_status": STATUS_OF_STATE[state],
        "task_status_msg": "canceled" if state is State.CANCELED else error.get("message", ""),
        "task_info": {"external_task_id": representation["external_task_id"] or ""},
        "created_at": to_milliseconds(created_at),
        "updated_at": to_milliseconds(updated_at),
    }
    if (result := representation["subject"]) is not None:
        element = _element(representation, result) | _media_lists(subject)
        record["task_result"] = {"elements": [element]}
        if "final_unit_deduction" in result:
            record["final_unit_deduction"] = result["final_unit_deduction"]
    return record


def _element(representation: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    element_id = result["element_id"]
    element = {
        "element_id": orjson.Fragment(element_id) if DECIMAL.fullmatch(element_id) else element_id,
        "element_name": representation["element_name"] or "",  # erased, perhaps
        "element_description": representation["element_description"] or "",
        "reference_type": representation["reference_type"],
        "tag_list": result.get("tags", []),
        "owned_by": result.get("owned_by", ""),
        "status": "succeed",
    }
    return element | ({"element_voice_info": result["voice"]} if "voice" in result else {})


def _media_lists(subject: SubjectView | None) -> dict[str, Any]:
    """The media by the provider's URLs, else by those of the request; a list without any is None.

    What was sent as Base64 is left out: nobody can fetch it from us, and it is too large to repeat.
    """
    result, document = ({}, {}) if subject is None else (subject.result or {}, subject.document)
    return {
        name: read(result.get(name)) or read(document.get(name)) or None
        for name, read in ((IMAGE_LIST, read_image_list), (VIDEO_LIST, read_video_list))
    }
