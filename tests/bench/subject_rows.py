"""Rows of subjects as the service would have left them, written by SQL in bulk.

What a row holds is taken from the service's own values, with holes for what differs from subject
to subject: one statement then fills them from each row of the table `bench_subjects`.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import fields, replace

from service.provider.domain.report_to_signal import status_update
from service.provider.domain.task_reports import read_callback
from service.schema.events import events
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject, apply_update

COLUMNS = """
    n int, account text, subscriber text, stem text COLLATE "C", task text COLLATE "C",
    at timestamptz, at_text text
"""
MOMENT = datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)  # stands for `at`
HOLES = {
    "{account}": "account",
    "{subscriber}": "subscriber",
    "{stem}": "stem",  # of all ids: what follows the prefix
    "{task}": "task",
    "2001-02-03T04:05:06.789Z": "at_text",  # `at` as format_rfc3339() writes it
}
_HOLE = re.compile("(" + "|".join(map(re.escape, HOLES)) + ")")

DOCUMENT = {
    "element_name": "bench",
    "element_description": "a benchmark",
    "reference_type": "image_refer",
}
RECORD: dict[str, Any] = {  # the legacy shape: rule P71
    "task_id": "{task}",
    "task_status": "succeed",
    "task_status_msg": "",
    "task_info": {"external_task_id": "sub_{stem}"},
    "task_result": {
        "elements": [
            {"element_id": 829836802793406551, **DOCUMENT, "owned_by": "us", "status": "succeed"}
        ]
    },
    "created_at": 1796000000000,
    "updated_at": 1796000012000,
}


def subject_states() -> list[Subject]:
    """One subject as it is after each move, with holes: queued, submitted, succeeded."""
    queued = Subject(
        id="sub_{stem}",
        account_id="{account}",
        external_task_id=None,
        fingerprint="f" * 64,
        document=DOCUMENT,
        state=State.QUEUED,
        version=1,
        provider_task_id=None,
        provider_updated_at=None,
        result=None,
        error=None,
        lease_token=None,
        lease_until=None,
        attempts=1,
        claimed_at=MOMENT,
        available_at=MOMENT,
        poll_count=0,
        next_poll_at=None,
        deadline=MOMENT + timedelta(days=1),
        callback_subscriber_id=None,
        created_at=MOMENT,
        updated_at=MOMENT,
        finished_at=None,
        erased_at=None,
        warnings=None,
    )
    accepted = StatusUpdate(Signal.SUBMITTED, provider_task_id="{task}", provider_updated_at=MOMENT)
    submitted = apply_update(queued, State.SUBMITTED, accepted, MOMENT, MOMENT + timedelta(hours=1))
    made = status_update(read_callback(json.dumps(RECORD).encode()))
    if made is None:
        raise ValueError(RECORD)
    made = replace(made, provider_updated_at=MOMENT)
    return [queued, submitted, apply_update(submitted, State.SUCCEEDED, made, MOMENT)]


def subjects_sql(last: Subject) -> str:
    """A statement that writes each subject in this state, the last of its states."""
    row = {field.name: getattr(last, field.name) for field in fields(Subject)}
    return insert("subjects", row | {"tags": "{}"})


def event_sql(subject: Subject) -> str:
    """A statement that writes, for each subject, the event of its move to this state."""
    event = subject_event(subject)
    row = {field.name: getattr(event, field.name) for field in fields(event)}
    return insert("events", {name: row[name] for name in row if name in events.c})


def insert(table: str, row: Mapping[str, object]) -> str:
    """A statement that writes this row for each subject, its holes filled."""
    values = ", ".join(_sql(value) for value in row.values())
    return f"INSERT INTO {table} ({', '.join(row)}) SELECT {values} FROM bench_subjects"  # noqa: S608 - our own


def _sql(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case datetime():
            return f"at + interval '{(value - MOMENT).total_seconds()} seconds'"
        case bytes():
            return f"convert_to({_filled(value.decode())}, 'UTF8')"
        case Mapping():
            return f"CAST({_filled(json.dumps(value))} AS jsonb)"
        case int() | float():
            return str(value)
        case str():
            return _filled(value)
        case _:
            raise TypeError(value)


def _filled(text: str) -> str:
    parts = [HOLES.get(part) or _quoted(part) for part in _HOLE.split(text) if part]
    return parts[0] if len(parts) == 1 else f"concat({', '.join(parts)})" if parts else "''"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
