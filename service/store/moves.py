"""Moves of subjects: state, events and deliveries in one statement, under the guard of what was
read, and with them the callbacks that told of them. Nothing else changes a subject's state but the
claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from service.core.subjects import Subject
from service.store import inbox
from service.store.connection import Connection
from service.store.events import DELIVERIES_MADE, WRITE_EVENTS, NewEvent, event_values
from service.store.inbox import StoredCallback
from service.store.rows import from_rows, rows

# What a move may change, with its type.
CHANGING = {
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
class Move:
    """A subject as it was read under its lock, as it becomes, and the events that tell of it."""

    before: Subject
    after: Subject
    new: tuple[NewEvent, ...]


_COLUMNS = {"id": "text", "from_state": "text", "from_version": "int", **CHANGING}
_WRITE = text(f"""
    WITH {inbox.STORE}, {WRITE_EVENTS}, moved AS (
        UPDATE subjects s SET {", ".join(f"{name} = moves.{name}" for name in CHANGING)}
        FROM {from_rows("moves", _COLUMNS)}
        WHERE s.id = ANY (CAST(:moved AS text[]))
        AND s.id = moves.id AND s.state = moves.from_state AND s.version = moves.from_version
        RETURNING s.id
    )
    SELECT (SELECT count(*) FROM moved), {DELIVERIES_MADE}
""")  # noqa: S608 - only our own column names are put in


async def write(
    tx: Connection, moves: Sequence[Move], callbacks: Sequence[StoredCallback] = ()
) -> int:
    """Write moves of different subjects, and store callbacks of different keys; how many
    deliveries were made.

    Callers hold the subjects' locks, so a guard that fails means a fault of ours, not a race:
    RuntimeError, and nothing is written.
    """
    if not (moves or callbacks):
        return 0
    values = {
        "moves": rows([_row(move) for move in moves]),
        "moved": [move.before.id for move in moves],
    }
    values |= inbox.storing(callbacks) | event_values([new for move in moves for new in move.new])
    moved, told = await tx.first(_WRITE, values)
    if moved != len(moves):
        msg = f"{len(moves) - moved} of {len(moves)} subjects were overtaken under their own lock"
        raise RuntimeError(msg)
    return int(told)


def _row(move: Move) -> dict[str, Any]:
    before, after = move.before, move.after
    row = {"id": before.id, "from_state": before.state, "from_version": before.version}
    for name in CHANGING:
        row[name] = getattr(after, name)
    return row
