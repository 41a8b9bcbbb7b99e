"""Transitions of subjects: state, events and deliveries in one statement, guarded by what was read,
and with them the callbacks that told of them. Nothing else changes a subject's state but the claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from service.callbacks.store import inbox
from service.callbacks.store.inbox import StoredCallback
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.subjects.domain.subject import Subject
from service.subjects.store.events import DELIVERIES_MADE, WRITE_EVENTS, NewEvent, event_values

# What a transition may change, with its type.
MUTABLE_COLUMNS = {
    "state": "text",
    "version": "int",
    "provider_task_id": "text",
    "provider_updated_at": "timestamptz",
    "result": "jsonb",
    "error": "jsonb",
    "lease_token": "text",
    "lease_until": "timestamptz",
    "available_at": "timestamptz",
    "poll_count": "int",
    "next_poll_at": "timestamptz",
    "updated_at": "timestamptz",
    "finished_at": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Transition:
    """A subject's way from one state to another."""

    before: Subject  # as it was read under its lock
    after: Subject  # as it becomes
    events: tuple[NewEvent, ...]  # the events that tell of it


_CHANGES = ", ".join(f"{name} = transitions.{name}" for name in MUTABLE_COLUMNS)
_COLUMNS = {"id": "text", "from_state": "text", "from_version": "int", **MUTABLE_COLUMNS}
_WRITE = text(f"""
    WITH {inbox.STORE}, {WRITE_EVENTS}, moved AS (
        UPDATE subjects s SET {_CHANGES}
        FROM {from_rows("transitions", _COLUMNS)}
        WHERE s.id = ANY (CAST(:moved AS text[]))
        AND s.id = transitions.id AND s.state = transitions.from_state
        AND s.version = transitions.from_version
        RETURNING s.id
    )
    SELECT (SELECT count(*) FROM moved), {DELIVERIES_MADE}
""")  # noqa: S608 - only our own column names are put in


async def write(
    tx: Connection, transitions: Sequence[Transition], callbacks: Sequence[StoredCallback] = ()
) -> int:
    """Write transitions of different subjects, and store callbacks of different keys; how many
    deliveries were made.

    Callers hold the subjects' locks, so a guard that fails means a fault of ours, not a race:
    RuntimeError, and nothing is written.
    """
    if not (transitions or callbacks):
        return 0
    values = {
        "transitions": encode_rows([_row(transition) for transition in transitions]),
        "moved": [transition.before.id for transition in transitions],
    }
    values |= inbox.storing(callbacks) | event_values(
        [new for transition in transitions for new in transition.events]
    )
    moved, told = await tx.first(_WRITE, values)
    if moved != len(transitions):
        lost, all_ = len(transitions) - moved, len(transitions)
        msg = f"{lost} of {all_} subjects were overtaken under their own lock"
        raise RuntimeError(msg)
    return int(told)


def _row(transition: Transition) -> dict[str, Any]:
    before, after = transition.before, transition.after
    row = {"id": before.id, "from_state": before.state, "from_version": before.version}
    for name in MUTABLE_COLUMNS:
        row[name] = getattr(after, name)
    return row
