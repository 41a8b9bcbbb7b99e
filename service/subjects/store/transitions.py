"""Transitions of subjects: state, events, deliveries and the callbacks that led to them, in one
statement guarded by what was read. Only a claim changes a subject's state otherwise."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import text

from service.callbacks.store import inbox
from service.callbacks.store.inbox import CallbackToStore
from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows, from_rows
from service.subjects.domain.subject import Subject
from service.subjects.domain.work import work_after
from service.subjects.store.events import DELIVERIES_MADE, WRITE_EVENTS, NewEvent, event_values

# The columns that a transition may change, with their types.
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


class Transition(Struct, frozen=True):
    """A subject's move from one state to another."""

    before: Subject  # as it was read under its lock
    after: Subject  # as it is written
    events: tuple[NewEvent, ...]  # none if the move makes no event


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
    tx: Connection, transitions: Sequence[Transition], callbacks: Sequence[CallbackToStore] = ()
) -> int:
    """Write transitions, each of another subject, and store callbacks, each of another
    deduplication key, and notify the workers that have work by that; return how many deliveries
    that made.

    The caller holds the subjects' locks, so a guard that fails is a fault of ours, not a race:
    RuntimeError, and nothing is written.
    """
    if not (transitions or callbacks):
        return 0
    values = {
        "transitions": encode_rows([_row(transition) for transition in transitions]),
        "moved": [transition.before.id for transition in transitions],
    }
    values |= inbox.store_parameters(callbacks) | event_values(
        [event for transition in transitions for event in transition.events],
        {
            work
            for transition in transitions
            for work in work_after(transition.before.state, transition.after.state)
        },
    )
    moved, deliveries = await tx.first(_WRITE, values)
    if moved != len(transitions):
        msg = f"{len(transitions) - moved} of {len(transitions)} subjects changed under their lock"
        raise RuntimeError(msg)
    return int(deliveries)


def _row(transition: Transition) -> dict[str, Any]:
    before, after = transition.before, transition.after
    guard = {"id": before.id, "from_state": before.state, "from_version": before.version}
    return guard | {name: getattr(after, name) for name in MUTABLE_COLUMNS}
