"""Moves of subjects: state, events and deliveries in one statement, under the guard of what was
read. Nothing else changes a subject's state but the claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text

from service.core.subjects import Subject
from service.store.database import Transaction
from service.store.events import WRITE, New, written

# What a move may change, with its type: the order is that of the arrays below.
CHANGING = {
    "state": "text",
    "version": "int",
    "provider_task_id": "text",
    "provider_updated_at": "timestamptz",
    "result": "jsonb",
    "error": "jsonb",
    "lease_token": "text",
    "lease_until": "timestamptz",
    "next_try_at": "timestamptz",
    "polls": "int",
    "next_poll_at": "timestamptz",
    "updated_at": "timestamptz",
    "finished_at": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Move:
    """A subject as it was read under its lock, as it becomes, and the events that tell of it."""

    before: Subject
    after: Subject
    new: tuple[New, ...]


def _statement() -> str:
    arrays = "".join(f", CAST(:to_{name} AS {kind}[])" for name, kind in CHANGING.items())
    names = "".join(f", {name}" for name in CHANGING)
    changes = ", ".join(f"{name} = m.{name}" for name in CHANGING)
    return f"""
        WITH {WRITE}, moves AS (
            SELECT * FROM unnest(
                CAST(:moved AS text[]), CAST(:from_states AS text[]), CAST(:from_versions AS int[])
                {arrays}
            ) AS m (id, from_state, from_version{names})
        ), moved AS (
            UPDATE subjects s SET {changes} FROM moves m
            WHERE s.id = m.id AND s.state = m.from_state AND s.version = m.from_version
            RETURNING s.id
        )
        SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM told)
    """  # noqa: S608 - only our own column names are put in


_MOVE = text(_statement())


async def write(tx: Transaction, moves: Sequence[Move]) -> int:
    """Write moves of different subjects; how many deliveries they made.

    Callers hold the subjects' locks, so a guard that fails means a fault of ours, not a race:
    RuntimeError, and nothing is written.
    """
    if not moves:
        return 0
    values: dict[str, list[Any]] = {
        "moved": [move.before.id for move in moves],
        "from_states": [move.before.state.value for move in moves],
        "from_versions": [move.before.version for move in moves],
    }
    for name, kind in CHANGING.items():
        column = [getattr(move.after, name) for move in moves]
        values[f"to_{name}"] = [_json(one) for one in column] if kind == "jsonb" else column
    values |= written([new for move in moves for new in move.new])
    moved, told = (await tx.execute(_MOVE, values)).one()
    if moved != len(moves):
        msg = f"{len(moves) - moved} of {len(moves)} subjects were overtaken under their own lock"
        raise RuntimeError(msg)
    return int(told)


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
