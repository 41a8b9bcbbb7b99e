"""What is left of a subject that was erased: ids, state, times, and what it cost."""

from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from service.subjects.domain.subject import Subject, SubjectView

ERASED: Final = "Erased."  # in place of words that may have repeated what a subject held
# Of a result: the id that deletes the element at the provider, and what it cost.
KEPT_OF_RESULT: Final = ("element_id", "final_unit_deduction")
NOT_REQUESTED: Final = "not_requested"  # nobody asked that it be deleted at the provider too
# Codes of errors after which the provider may yet have made an element, which nobody knows of here.
ENDED_WITHOUT_PROVIDER: Final = frozenset({"deadline_exceeded", "left_behind"})


def tombstone(subject: Subject, now: datetime) -> Subject:
    """A finished subject without what it held, at its next version. Its fingerprint stays: the same
    request still gets the same subject."""
    result, error = subject.result, subject.error
    return replace(
        subject,
        version=subject.version + 1,
        document={"reference_type": subject.reference_type},
        result=result and {name: result[name] for name in KEPT_OF_RESULT if name in result},
        error=error and {"code": error["code"], "message": ERASED},
        warnings=None,
        callback_subscriber_id=None,
        erased_at=max(now, subject.updated_at),
    )


def at_provider(subject: SubjectView) -> dict[str, Any]:
    """The member `erasure` of an answer about a subject whose element nobody asked the provider to
    delete: what is left there."""
    element_id = (subject.result or {}).get("element_id")
    code = (subject.error or {}).get("code")
    text = "The provider has nothing of it that is known here."
    if element_id is not None:
        text = "The element lives on at the provider: with ?provider=true it is deleted there too."
    elif subject.provider_task_id is not None and code in ENDED_WITHOUT_PROVIDER:
        text = "It ended here before the provider did: an element may have been made there since."
    return {"state": NOT_REQUESTED, "element_id": element_id, "text": text}
