"""What the provider did in a story, as steps in an order: what the simulator does to play it back.

Order stands for time. Each answer and callback waits for those before it, and time is shortened: of
a long wait only that there was one is left. So the same happens in seconds that took hours.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from service.callbacks.domain.verdicts import Verdict
from service.provider.domain.task_reports import STATUS_WORDS
from service.story.domain.moves import Move
from service.story.domain.story_file import PlayedSignal, StoryFile
from service.subjects.domain.lifecycle import RANK, Signal, State
from service.subjects.domain.signal_source import SignalSource

MAX_STEPS: Final = 500
MAX_WAIT: Final = 1.0  # seconds before a callback, however long it took
MAX_WAITS: Final = 8.0  # seconds that all of them wait
MAX_COPIES: Final = 3  # of a callback
RETRY_LATER: Final = 1302  # stands for a provider that could not be reached
ODD_WORD: Final = "odd"  # stands for a status that nobody knows

Answer = Literal["task", "not_found", "exists", "refusal", "lost"]


class Step(Struct, frozen=True):
    """One thing that the provider did."""

    kind: Literal["create", "poll", "callback"]
    answer: Answer = "task"  # to a create or a poll; `lost`: the connection is cut
    code: int | None = None  # of a refusal
    # Whether the provider has the task after this create; None: nobody knew then.
    accepts: bool | None = False
    status: str = "submitted"  # that the answer or the callback tells
    incomplete: bool = False  # a success without what was made
    seconds: float | None = None  # the status' time, after the first call; None: that of the step
    wait: float = 0.0  # seconds before a callback
    copies: int = 0  # of a callback, beyond the first
    sign: Literal["signed", "unsigned", "forged"] = "signed"


class Script(Struct, frozen=True):
    """A story's steps, and what beside the provider made it."""

    steps: Sequence[Step]
    moves: Sequence[Move]  # that are to come
    cancels: bool  # whether a caller canceled it
    exceeds_deadline: bool
    # Once so many creates were answered, submissions are held: what ends it then finds it queued.
    hold_after: int | None
    signed: bool  # whether the provider's callbacks were believed


def script_of(story: StoryFile) -> Script:
    """The script that makes a subject move as this story's did."""
    steps = [step for signal in _in_order(story) for step in _step(story, signal)]
    steps = _shortened(_with_unanswered(_with_accepted(steps[: MAX_STEPS - 1])))
    last = story.moves[-1] if story.moves else None
    from_queue = last is not None and last.before is State.QUEUED
    ends_by = None if last is None else last.signal
    held = from_queue and ends_by in (Signal.CANCEL, Signal.DEADLINE)
    verdicts = {signal.verdict for signal in story.signals}
    return Script(
        steps=steps,
        moves=story.moves,
        cancels=ends_by is Signal.CANCEL,
        exceeds_deadline=ends_by is Signal.DEADLINE,
        hold_after=sum(step.kind == "create" for step in steps) if held else None,
        signed=Verdict.HINT not in verdicts,
    )


def _in_order(story: StoryFile) -> list[PlayedSignal]:
    """The signals in the order in which they were decided on. A callback that came to nothing
    stands behind the move that it was late for: else it would be in time when it is played back."""

    def place(signal: PlayedSignal) -> tuple[datetime, int, bool]:
        rank = _rank(signal)
        if signal.source != SignalSource.CALLBACK or rank is None:
            return signal.at, RANK[signal.after] if signal.after else 0, False
        applied = signal.verdict == Verdict.APPLIED
        for move in story.moves:
            reached = RANK[move.after]
            if move.at is not None and (reached == rank if applied else reached >= rank):
                at = move.at if applied else max(signal.at, move.at)
                return at, reached, not applied
        return signal.at, rank, not applied

    return sorted(story.signals, key=place)


def _rank(signal: PlayedSignal) -> int | None:
    """The rank of the state that a callback tells of; None if its word is not known."""
    status = STATUS_WORDS.get(signal.status or "")
    return None if status is None else RANK[State(status)]


def _step(story: StoryFile, signal: PlayedSignal) -> Iterator[Step]:
    """What the provider did for this signal; nothing, if it was ours alone."""
    match signal.source:
        case SignalSource.SUBMIT:
            if not _was_lost_before(story, signal):
                yield _timed(story, signal, _answer("create", signal))
        case SignalSource.CLOCK if signal.signal is Signal.LOST:
            yield Step("create", "lost", accepts=None)
        case SignalSource.POLL:
            yield _timed(story, signal, _answer("poll", signal))
        case SignalSource.CALLBACK if signal.verdict not in (Verdict.UNKNOWN, Verdict.MISMATCH):
            yield _timed(story, signal, _callback(signal))


def _was_lost_before(story: StoryFile, answer: PlayedSignal) -> bool:
    """Whether the answer came to a worker whose lease was over: that call was played as lost."""
    return answer.ignored is not None and any(
        signal.source == SignalSource.CLOCK and signal.sent_at == answer.sent_at
        for signal in story.signals
    )


def _answer(kind: Literal["create", "poll"], signal: PlayedSignal) -> Step:
    match signal.outcome:
        case "task_accepted" | "task_found":
            made_nothing = signal.status in ("succeed", "succeeded") and signal.signal is None
            status = signal.status or ODD_WORD
            return Step(kind, accepts=kind == "create", status=status, incomplete=made_nothing)
        case "already_exists":
            return Step(kind, "exists", accepts=None)
        case "task_not_found":
            return Step(kind, "not_found")
        case "retry_later" if signal.code is None:
            return Step(kind, "refusal", code=RETRY_LATER)
        case outcome if signal.code:
            accepts = None if outcome == "outcome_unknown" else False
            return Step(kind, "refusal", code=signal.code, accepts=accepts)
        case _:
            return Step(kind, "lost", accepts=None)


def _callback(signal: PlayedSignal) -> Step:
    made_nothing = signal.status in ("succeed", "succeeded") and signal.verdict == Verdict.PARKED
    return Step(
        "callback",
        status=signal.status or ("processing" if signal.verdict == Verdict.REJECTED else ODD_WORD),
        incomplete=made_nothing,
        copies=min(signal.times_received - 1, MAX_COPIES),
        sign={"rejected": "forged", "hint": "unsigned"}.get(signal.verdict or "", "signed"),  # type: ignore[arg-type] # both are words of it
    )


def _timed(story: StoryFile, signal: PlayedSignal, step: Step) -> Step:
    """The step with the provider's own time, and with what passed before it."""
    began = story.subject.created_at
    reported = signal.provider_at
    seconds = None if reported is None else (reported - began).total_seconds()
    return replace(step, seconds=seconds, wait=max(0.0, (signal.at - began).total_seconds()))


def _with_accepted(steps: Sequence[Step]) -> list[Step]:
    """The steps; a create of which nobody knew was accepted if the provider had the task later,
    before it said that there is none."""
    made: list[Step] = []
    has_task = False
    for step in reversed(steps):
        known = step.accepts if step.accepts is not None else has_task
        made.append(replace(step, accepts=known) if step.kind == "create" else step)
        has_task = step.answer != "not_found" and (has_task or step.answer == "task")
    return made[::-1]


def _with_unanswered(steps: Sequence[Step]) -> list[Step]:
    """The steps; and behind them the create that the provider must have taken, if it told of a task
    and no create was accepted: the story was carried away before the answer was kept."""
    accepted = any(step.accepts for step in steps)
    told = any(
        step.kind != "create" and step.answer == "task" and step.sign != "forged" for step in steps
    )
    return [*steps, Step("create", accepts=True)] if told and not accepted else list(steps)


def _shortened(steps: Sequence[Step]) -> list[Step]:
    """The steps; each callback waits for a share of what passed since the step before it."""
    passed, waits = 0.0, []
    for step in steps:
        waits.append(max(0.0, step.wait - passed) if step.kind == "callback" else 0.0)
        passed = max(passed, step.wait)
    share = min(1.0, MAX_WAITS / (sum(waits) or 1.0))
    return [
        replace(step, wait=min(MAX_WAIT, wait * share))
        for step, wait in zip(steps, waits, strict=True)
    ]
