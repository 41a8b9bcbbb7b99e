"""The JSON of a subject, as callers see it in answers and in events alike."""

from typing import Any

from service.kit.timestamps import format_rfc3339
from service.provider.domain.model_capabilities import MODELS_BY_REFERENCE_TYPE
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO_LIST
from service.subjects.domain.subject import SubjectView


def public_subject(subject: SubjectView) -> dict[str, Any]:
    """The subject as callers see it. `usable_with` lists every name of the models that take it,
    None before it succeeded; `warnings` is left out where there is none, and `erased_at` unless it
    was erased: then all that it held is None."""
    document = subject.document
    succeeded = subject.state is State.SUCCEEDED
    more: dict[str, Any] = {"warnings": subject.warnings} if subject.warnings else {}
    if subject.erased_at is not None:
        more["erased_at"] = format_rfc3339(subject.erased_at)
    return {
        "id": subject.id,
        "external_task_id": subject.external_task_id,
        "provider_task_id": subject.provider_task_id,
        "state": subject.state.value,
        "version": subject.version,
        "reference_type": document["reference_type"],
        "element_name": document.get("element_name"),
        "element_description": document.get("element_description"),
        "element_voice_id": document.get("element_voice_id"),
        "tag_list": document.get("tag_list", []),
        "subject": _result(subject),
        "usable_with": list(MODELS_BY_REFERENCE_TYPE[subject.reference_type])
        if succeeded
        else None,
        "error": subject.error,
        "created_at": format_rfc3339(subject.created_at),
        "updated_at": format_rfc3339(subject.updated_at),
        "finished_at": format_rfc3339(subject.finished_at),
        **more,
    }


def _result(subject: SubjectView) -> dict[str, Any] | None:
    """What the provider made, without its media, which only the provider's own records show; None
    before it succeeded."""
    if subject.result is None:
        return None
    media = (IMAGE_LIST, VIDEO_LIST)
    return {name: value for name, value in subject.result.items() if name not in media}
