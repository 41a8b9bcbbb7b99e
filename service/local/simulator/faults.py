"""What goes wrong on purpose: one rule says for which calls, how often, and what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from service.local.simulator.options import CallbackShape

FaultedCall = Literal["create", "query", "list"]
AnswerFault = Literal["normal", "drop", "trickle", "garbage", "oversized", "truncated"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule of `POST /_simulator/faults`. Times are seconds; what is left out stays normal.

    Which calls: `on`, `element_name`, `external_task_id` (both exact), at most `times` of them
    (None: always), and of those the given `share`, evenly spread.

    The answer: `code` refuses; `accept` says whether the task is made all the same (default: only
    if `code` is not given); `delay` holds the answer back; `answer` spoils it: `drop` closes the
    connection in place of an answer, `trickle` spreads it over `delay` (or 60 s).
    `before_answer` callbacks are sent first.

    The callbacks of the task made: `lose` (all, or those statuses), `lose_share` (so many of all
    tasks' together, evenly spread), `duplicate` (copies of each beyond the first), `fresh_ids`
    (each copy under an id of its own), `reorder` (the last first), `callback_delay`, `forge`
    (signed with another key), `unsigned`, `skew` (of the timestamp), `contradict` (after the end
    the opposite end), `shape`.

    Its life: `fail` (with that message), `stuck` (never ends), `words` (status → word used for
    it), `processing_after`, `finished_after`.
    """

    on: FaultedCall = "create"
    element_name: str | None = None
    external_task_id: str | None = None
    times: int | None = 1
    share: float = 1.0
    code: int | None = None
    message: str | None = None
    http_status: int | None = None
    accept: bool | None = None
    delay: float = 0.0
    answer: AnswerFault = "normal"
    before_answer: int = 0
    lose: bool | list[str] = False
    lose_share: float = 0.0
    duplicate: int = 0
    fresh_ids: bool = False
    reorder: bool = False
    callback_delay: float = 0.0
    forge: bool = False
    unsigned: bool = False
    skew: float = 0.0
    contradict: bool = False
    shape: CallbackShape | None = None
    fail: str | None = None
    stuck: bool = False
    words: dict[str, str] = field(default_factory=dict)
    processing_after: float | None = None
    finished_after: float | None = None

    @property
    def accepts(self) -> bool:
        """Whether the task is made."""
        return self.code is None if self.accept is None else self.accept

    def loses(self, status: str) -> bool:
        """Whether the callback of that status is never sent."""
        return self.lose if isinstance(self.lose, bool) else status in self.lose


NO_FAULT = Fault()


@dataclass(slots=True)
class _ActiveFault:
    fault: Fault
    remaining: float  # infinity: always
    share_due: float = 0.0


class Faults:
    """The rules in force, the oldest first; the first that matches a call is the one applied."""

    def __init__(self) -> None:
        self._armed: list[_ActiveFault] = []

    def add(self, fault: Fault) -> None:
        """Put a rule in force."""
        self._armed.append(
            _ActiveFault(fault, float("inf") if fault.times is None else fault.times)
        )

    def clear(self) -> None:
        """Take all rules out of force; tasks already made keep theirs."""
        self._armed.clear()

    def active(self) -> list[Fault]:
        """The rules in force."""
        return [armed.fault for armed in self._armed]

    def next_for(self, on: FaultedCall, named: Mapping[str, object]) -> Fault:
        """The fault for this call, or NONE; `named` has the call's name and external id."""
        for armed in self._armed:
            if not _matches(armed.fault, on, named):
                continue
            armed.share_due += armed.fault.share
            if armed.share_due < 1 - 1e-9:
                return NO_FAULT
            armed.share_due -= 1
            armed.remaining -= 1
            if armed.remaining <= 0:
                self._armed.remove(armed)
            return armed.fault
        return NO_FAULT


def _matches(fault: Fault, on: FaultedCall, named: Mapping[str, object]) -> bool:
    return (
        fault.on == on
        and fault.element_name in (None, named.get("element_name"))
        and fault.external_task_id in (None, named.get("external_task_id"))
    )
