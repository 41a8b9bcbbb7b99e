"""What the provider says of a task, in either of its shapes.

Shapes and words are rules P6 to P9, P30 to P35 and P70 to P73 of service/provider/README.md.
Whatever a body holds, only Malformed gets out; what is kept of it is short, and fit for any store.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from service.kit.errors import Malformed
from service.kit.text import clean_text
from service.kit.timestamps import from_milliseconds
from service.provider.domain import results
from service.provider.domain.results import as_mapping, read_id


class TaskStatus(StrEnum):
    """What the provider may say of a task (rule P30)."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


STATUS_WORDS = MappingProxyType(
    {
        "submitted": TaskStatus.SUBMITTED,
        "processing": TaskStatus.PROCESSING,
        "succeed": TaskStatus.SUCCEEDED,  # the older spelling
        "succeeded": TaskStatus.SUCCEEDED,  # the newer
        "failed": TaskStatus.FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What the provider says of one task; times are of its own clock.

    `status` is None for a `word` we do not know: it is parked, never guessed. `result` is there
    only on success, and only if the subject's id was: without it, ask again.
    """

    provider_task_id: str
    external_task_id: str | None
    status: TaskStatus | None
    status_word: str
    message: str
    created_at: datetime | None
    updated_at: datetime | None
    result: dict[str, Any] | None
    final_unit_deduction: str | None


@dataclass(frozen=True, slots=True)
class _FieldNames:
    task_id: str
    status: str
    message: str
    created_at: str
    updated_at: str


LEGACY = _FieldNames("task_id", "task_status", "task_status_msg", "created_at", "updated_at")
CURRENT = _FieldNames("id", "status", "message", "create_time", "update_time")


def parse_json_object(raw: bytes) -> dict[str, object]:
    """A JSON object in which integers keep every digit; Malformed for anything else. One byte order
    mark before it is passed over (RFC 8259, section 8.1)."""
    try:
        value = _DECODER.decode(raw.removeprefix(BOM_UTF8).decode())
    except (ValueError, RecursionError):
        raise Malformed("the body is not proper JSON") from None
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Two values under one name leave open which is meant: that is not guessed either."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _reject_constant(constant: str) -> object:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_reject_constant)


def read_callback(raw: bytes) -> TaskReport:
    """The report in a callback's body: the bare task record, in either shape."""
    return read_task_record(parse_json_object(raw))


def read_task_record(data: Mapping[str, object]) -> TaskReport:
    """The report in a task record: a callback's, or the `data` of an envelope."""
    older = "task_id" in data
    if older == ("id" in data):
        raise Malformed("a task is named by task_id or by id: one of them, not both")
    keys = LEGACY if older else CURRENT
    task_id, word = read_id(data[keys.task_id]), data.get(keys.status)
    if task_id is None:
        raise Malformed(f"{keys.task_id} is not an id")
    if not isinstance(word, str):
        raise Malformed(f"{keys.status} is not a word")
    status = STATUS_WORDS.get(word)
    info = as_mapping(data.get("task_info"))
    external = info.get("external_task_id") if older else data.get("external_id")
    return TaskReport(
        provider_task_id=task_id,
        external_task_id=read_id(external),
        status=status,
        status_word=clean_text(word),
        message=clean_text(data.get(keys.message)),
        created_at=from_milliseconds(data.get(keys.created_at)),
        updated_at=from_milliseconds(data.get(keys.updated_at)),
        result=results.read_result(data) if status is TaskStatus.SUCCEEDED else None,
        final_unit_deduction=results.read_deduction(data),
    )
