"""The moves of a subject, and whether two subjects made the same.

A move is a change of state, with the signal that led to it. A claim is none: it follows from the
move out of `submitting`. Moves that are alike and follow each other are one, however often they
came: how often the provider said "later" is chance. So is who learnt of it: a lost callback and a
late look-up may bring the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from difflib import unified_diff
from itertools import groupby
from typing import Annotated, Any

from msgspec import Meta, Struct

from service.subjects.domain.lifecycle import RANK, Signal, State
from service.subjects.domain.signal_record import times_learnt

Entry = Mapping[str, Any]  # a kept signal: SignalRecord.document()


class Move(Struct, frozen=True):
    """A change of state, as often as it came in a row."""

    before: State
    after: State
    signal: Signal | None  # None: nobody kept what led to it
    source: str | None = None  # a SignalSource; likewise
    at: Annotated[datetime, Meta(tz=True)] | None = None  # by our clock: when it came first
    times: int = 1  # in a row

    def __str__(self) -> str:
        """What is compared of it, on one line."""
        return f"{self.before} -> {self.after} by {self.signal or 'what nobody kept'}"


class ToldMove(Struct, frozen=True):
    """A move that made an event, as the event tells of it."""

    after: State
    at: datetime
    by_callback: bool  # whether a callback is stored that brought it


def moves_of(kept: Sequence[Entry], told: Sequence[ToldMove], attempts: int) -> list[Move]:
    """The moves of a subject, by the signals that are kept with it and by its events, both in their
    order, and by how many submissions were begun.

    What was kept of a move tells all of it; of others the events tell where it went. Before the
    first event there are kept moves alone, and no state that made an event comes twice.
    """
    known = [_kept_move(entry) for entry in kept if entry.get("after")]
    state, claims = State.QUEUED, attempts - sum(_claims(move) for move in known)
    events = [move for move in told if not any(move.after is own.after for own in known)]
    moves: list[Move] = []
    while known or events:
        if known and (not events or _follows(known[0].before, state)):
            moves.append(known.pop(0))
        else:
            event = events.pop(0)
            before = State.SUBMITTING if state is State.QUEUED and claims > 0 else state
            signal = Signal(event.after) if event.by_callback else None
            source = "callback" if event.by_callback else None
            moves.append(Move(before, event.after, signal, source, event.at))
        state = moves[-1].after
    return moves


def _kept_move(entry: Entry) -> Move:
    return Move(
        before=State(entry["before"]),
        after=State(entry["after"]),
        signal=Signal(entry["signal"]),
        source=entry["source"],
        at=datetime.fromisoformat(entry["at"]),
        times=times_learnt(entry),
    )


def _claims(move: Move) -> int:
    """How many submissions this move ended."""
    return move.times if move.before is State.SUBMITTING else 0


def _follows(before: State, state: State) -> bool:
    """Whether a move from `before` can come next; a claim is no move."""
    return before is state or (RANK[before] == 0 and RANK[state] == 0)


def compared(moves: Iterable[Move]) -> list[str]:
    """What is compared of moves: a line for each, and one for those that are alike in a row."""
    return [line for line, _ in groupby(str(move) for move in moves)]


def differences(expected: Iterable[Move], made: Iterable[Move]) -> list[str]:
    """The lines of a diff from the expected moves to those that were made; none if they are the
    same."""
    lines = unified_diff(
        compared(expected), compared(made), "the story", "played back", lineterm="", n=100
    )
    return list(lines)
