"""Reports on a task: what the provider says of it, in a callback or in answer to a query.

Both shapes and their words are those of service/provider/README.md, rules P6 to P9, P30 to P35 and
P70 to P73. Whatever a body holds, only Malformed is raised; what is read of it is short, and fits
any store.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from service.kit.errors import Malformed
from service.kit.text import clean_text
from service.kit.timestamps import from_milliseconds
from service.provider.domain import results
from service.provider.domain.results import as_mapping, read_id


class TaskStatus(StrEnum):
    """The statuses of a task (rule P30)."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


STATUS_WORDS = MappingProxyType(  # rule P30
    {
        "submitted": TaskStatus.SUBMITTED,
        "processing": TaskStatus.PROCESSING,
        "succeed": TaskStatus.SUCCEEDED,  # legacy shape
        "succeeded": TaskStatus.SUCCEEDED,  # current shape
        "failed": TaskStatus.FAILED,
    }
)


class TaskReport(Struct, frozen=True):
    """What the provider says of one task; all times are of its clock."""

    provider_task_id: str  # the id that the provider gave it
    external_task_id: str | None  # the id that we gave it; None: the report has none
    status: TaskStatus | None  # None: the word is unknown
    status_word: str  # the status in the provider's spelling
    message: str  # why it failed, among others; "": the report has none
    created_at: datetime | None  # None: the report has no such time
    updated_at: datetime | None  # None: the report has no such time
    result: dict[str, Any] | None  # of `results.read_result`; None: no success, or without an id
    final_unit_deduction: str | None  # what it cost (rule P35); None: the report does not say


@dataclass(frozen=True, slots=True)
class _FieldNames:
    """The names of a task record's members in one shape."""

    task_id: str  # the provider's id
    status: str  # one of STATUS_WORDS
    message: str  # why the task failed
    created_at: str  # Unix milliseconds
    updated_at: str  # Unix milliseconds


# Rules P71 and P72.
LEGACY = _FieldNames("task_id", "task_status", "task_status_msg", "created_at", "updated_at")
CURRENT = _FieldNames("id", "status", "message", "create_time", "update_time")


def parse_json_object(raw: bytes) -> dict[str, object]:
    """Parse a JSON object, with every digit of its integers; raises Malformed for anything else.
    One byte order mark before it is ignored (RFC 8259, section 8.1)."""
    try:
        value = _DECODER.decode(raw.removeprefix(BOM_UTF8).decode())
    except (ValueError, RecursionError):
        raise Malformed("The body is not proper JSON.") from None
    if not isinstance(value, dict):
        raise Malformed("The body is not a JSON object.")
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object; of two members of one name nobody knows which is meant."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _reject_constant(constant: str) -> object:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_reject_constant)


def read_callback(raw: bytes) -> TaskReport:
    """Read a callback's body: a bare task record (rule P70). Raises Malformed."""
    return read_task_record(parse_json_object(raw))


def read_task_record(data: Mapping[str, object]) -> TaskReport:
    """Read a task record of either shape: a callback's, or the `data` of an envelope (rule P6).
    Raises Malformed if it has no task id or no status."""
    is_legacy = "task_id" in data
    if is_legacy == ("id" in data):  # rule P73
        raise Malformed("The body must have either task_id or id.")
    names = LEGACY if is_legacy else CURRENT
    task_id, word = read_id(data[names.task_id]), data.get(names.status)
    if task_id is None:
        raise Malformed(f"The value of {names.task_id} is not an id.")
    if not isinstance(word, str):
        raise Malformed(f"The value of {names.status} is not a string.")
    status = STATUS_WORDS.get(word)
    task_info = as_mapping(data.get("task_info"))
    external_id = task_info.get("external_task_id") if is_legacy else data.get("external_id")
    created_at = from_milliseconds(data.get(names.created_at))
    updated_at = from_milliseconds(data.get(names.updated_at))
    deduction, result = results.read_deduction(data), None
    if status is TaskStatus.SUCCEEDED:
        result = results.read_result(data, created_at, updated_at, deduction)
    return TaskReport(
        provider_task_id=task_id,
        external_task_id=read_id(external_id),
        status=status,
        status_word=clean_text(word),
        message=clean_text(data.get(names.message)),
        created_at=created_at,
        updated_at=updated_at,
        result=result,
        final_unit_deduction=deduction,
    )
