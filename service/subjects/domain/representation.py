"""A subject as a value, and as the world sees it."""

from collections.abc import Mapping
from typing import Any

from service.kit.timestamps import format_rfc3339
from service.provider.domain.model_capabilities import USABLE_WITH
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO_LIST
from service.subjects.domain.subject import Subject


def public_subject(subject: Subject) -> dict[str, Any]:
    """The subject as callers see it, in answers and in events alike.
    There are `warnings` only where there is one."""
    document = subject.document
    warnings = {"warnings": subject.warnings} if subject.warnings else {}
    return {
        "id": subject.id,
        "external_task_id": subject.external_task_id,
        "provider_task_id": subject.provider_task_id,
        "state": subject.state.value,
        "version": subject.version,
        "reference_type": document["reference_type"],
        "element_name": document["element_name"],
        "element_description": document["element_description"],
        "element_voice_id": document.get("element_voice_id"),
        "tag_list": document.get("tag_list", []),
        "subject": _made(subject.result),
        "usable_with": _usable_with(subject),
        "error": subject.error,
        "created_at": format_rfc3339(subject.created_at),
        "updated_at": format_rfc3339(subject.updated_at),
        "finished_at": format_rfc3339(subject.finished_at),
        **warnings,
    }


def _made(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the provider made, without its media: only records in the provider's shape have them."""
    if result is None:
        return None
    return {name: value for name, value in result.items() if name not in (IMAGE_LIST, VIDEO_LIST)}


def _usable_with(subject: Subject) -> list[str] | None:
    """The models that take it, by all of their names; None for what has not been made."""
    made = subject.state is State.SUCCEEDED
    return list(USABLE_WITH[subject.reference_type]) if made else None
