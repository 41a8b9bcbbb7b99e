"""Transitions of subjects: state, events, deliveries and the callbacks that led to them, in one
statement guarded by what was read. Only a claim changes a subject's state otherwise."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import TextClause, text

from service.callbacks.store import inbox
from service.callbacks.store.inbox import CallbackToStore
from service.kit.database.connection import Connection
from service.kit.database.guards import guard, guarded
from service.kit.database.json_rows import columns_of, encode_rows, from_rows
from service.schema.base import one_of
from service.subjects.domain.lifecycle import TERMINAL, Ignored
from service.subjects.domain.signal_record import SignalRecord
from service.subjects.domain.subject import Subject
from service.subjects.domain.work import work_after
from service.subjects.store.events import NOTIFIED, NewEvent, event_values, write_events
from service.subjects.store.signals import appended


class Transition(Struct, frozen=True):
    """What a status update makes of a subject."""

    before: Subject  # as it was read
    after: Subject  # `before` itself, if the update was ignored
    ignored: Ignored | None = None  # why the subject did not move; None: it moved
    events: tuple[NewEvent, ...] = ()  # none if the move makes no event
    signal: SignalRecord | None = None  # to be kept with the subject; None: a callback is a row

    @property
    def verdict(self) -> str:
        """`applied`, or why the update was ignored: a Verdict of a callback."""
        return "applied" if self.ignored is None else self.ignored.value


class _Row(Struct, omit_defaults=True):
    """What must still be as it was read, and what is written; what is left out stays as it was, or
    is null."""

    id: str
    from_state: str
    from_version: int
    from_attempts: int
    state: str
    version: int
    updated_at: datetime
    from_lease_token: str | None = None
    provider_task_id: str | None = None
    provider_updated_at: datetime | None = None
    available_at: datetime | None = None
    next_poll_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    signal: Mapping[str, Any] | None = None
    units: Decimal | None = None


_COLUMNS = columns_of(_Row)
# A state may come twice at one version, where it makes no event: the attempts and the lease tell
# those apart. A row that was written anew while the statement waited for it does not count: what
# was written with it cannot be seen here. The guard is selected first: so subjects are locked
# before deliveries. A task that is learnt of after a lost answer has saved another create.
_GUARDS = ("state", "version", "attempts", "lease_token")
_UNCHANGED = " AND ".join(f"s.{name} IS NOT DISTINCT FROM moves.from_{name}" for name in _GUARDS)
# Subjects that stay as they are, but not erased ones; what is locked is not waited for.
_KEPT = """, kept AS (
        SELECT id FROM subjects WHERE id = ANY (CAST(:kept AS text[])) AND erased_at IS NULL
        FOR KEY SHARE SKIP LOCKED
    )"""
_ALL_KEPT = "(SELECT count(*) FROM kept) = cardinality(CAST(:kept AS text[]))"


def _statement(kept: str = "", all_kept: str = "true") -> TextClause:
    """The statement that writes transitions and callbacks; with what guards subjects that stay as
    they are, if there are any."""
    return text(f"""
    WITH {inbox.STORE}, {write_events()}{kept}, moved AS (
        UPDATE subjects s SET
            state = moves.state,
            version = moves.version,
            provider_task_id = coalesce(moves.provider_task_id, s.provider_task_id),
            provider_updated_at = moves.provider_updated_at,
            result = moves.result,
            error = moves.error,
            units = moves.units,
            creates_saved = s.creates_saved + CAST(
                moves.from_state = 'unconfirmed' AND moves.provider_task_id IS NOT NULL AS int
            ),
            lease_token = NULL,
            lease_until = NULL,
            available_at = coalesce(moves.available_at, s.available_at),
            poll_count = 0,
            next_poll_at = moves.next_poll_at,
            signals = {appended("s.signals", "moves.signal")},
            updated_at = moves.updated_at,
            finished_at = CASE WHEN moves.state IN ({one_of(TERMINAL)}) THEN moves.updated_at END
        FROM {from_rows("moves", _COLUMNS)}
        WHERE s.id = ANY (CAST(:ids AS text[])) AND s.id = moves.id AND {_UNCHANGED}
        AND s.xmin = (SELECT seen.xmin FROM subjects seen WHERE seen.id = moves.id)
        RETURNING s.id
    )
    SELECT {guard("(SELECT count(*) FROM moved) = cardinality(CAST(:ids AS text[]))")},
        {guard(all_kept)}, {NOTIFIED}
""")  # noqa: S608 - only our own column names are put in


_WRITE, _WRITE_AND_KEEP = _statement(), _statement(_KEPT, _ALL_KEPT)


async def write(
    tx: Connection,
    transitions: Sequence[Transition],
    callbacks: Sequence[CallbackToStore] = (),
    kept: Sequence[str] = (),
) -> None:
    """Write transitions, each of another subject, and store callbacks, each of another
    deduplication key, and notify the workers that have work by that. `kept` are the ids of further
    subjects, which must not be erased meanwhile.

    GuardFailed, and nothing is written, if a subject is not any more as it was read, or another has
    the provider's task. Whoever holds the subjects' locks is safe from the first.
    """
    moves = [transition for transition in transitions if transition.ignored is None]
    if not (moves or callbacks):
        return
    # In the order of their ids, so that two batches that share subjects cannot wait for each other.
    moves.sort(key=lambda move: move.before.id)
    values = {
        "moves": encode_rows([_row(move) for move in moves]),
        "ids": [move.before.id for move in moves],
    }
    values |= inbox.store_parameters(callbacks) | event_values(
        [event for move in moves for event in move.events],
        {work for move in moves for work in work_after(move.before.state, move.after.state)},
    )
    moved = {move.before.id for move in moves}
    unmoved = [id_ for id_ in kept if id_ not in moved]
    with guarded():
        if unmoved:
            await tx.execute(_WRITE_AND_KEEP, values | {"kept": unmoved})
        else:
            await tx.execute(_WRITE, values)


def _row(move: Transition) -> _Row:
    before, after = move.before, move.after
    row = _Row(
        id=before.id,
        from_state=before.state,
        from_version=before.version,
        from_attempts=before.attempts,
        from_lease_token=before.lease_token,
        state=after.state,
        version=after.version,
        provider_updated_at=after.provider_updated_at,
        result=after.result,
        error=after.error,
        units=after.units,
        next_poll_at=after.next_poll_at,
        updated_at=after.updated_at,
    )
    if after.provider_task_id != before.provider_task_id:
        row.provider_task_id = after.provider_task_id
    if after.available_at != before.available_at:
        row.available_at = after.available_at
    if move.signal is not None:
        row.signal = move.signal.document()
    return row
