"""Faults committed on purpose: for which calls, how often, and what goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from service.local.simulator.options import CallbackShape

FaultedCall = Literal["create", "query", "list", "delete"]
AnswerFault = Literal["normal", "drop", "trickle", "garbage", "oversized", "truncated"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule of `POST /_simulator/faults`; a field that is left out stays normal."""

    # Which calls.
    on: FaultedCall = "create"  # `query` is a look-up of one task
    element_name: str | None = None  # of the create request, exactly; None matches all
    external_task_id: str | None = None  # of the task, exactly; None matches all
    times: int | None = 1  # how many calls at most; None for all
    share: float = 1.0  # of the calls that match, evenly spread

    # The answer to the call.
    code: int | None = None  # refuse with this code of the provider's
    message: str | None = None  # of the refusal; None for the code's own
    http_status: int | None = None  # None for the code's own
    # Create the task, or delete the element, all the same; None: only without `code`.
    accept: bool | None = None
    delay: float = 0.0  # seconds before the answer; of `trickle`, its length (0 stands for 60 s)
    answer: AnswerFault = "normal"  # `drop` closes the connection in place of an answer
    before_answer: int = 0  # callbacks that are sent before the create is answered

    # The callbacks of the task.
    lose: bool | list[str] = False  # never sent: all, or those of these statuses
    lose_share: float = 0.0  # of all tasks' callbacks together, evenly spread
    duplicate: int = 0  # copies of each callback beyond the first
    fresh_ids: bool = False  # whether each copy has an id of its own
    reorder: bool = False  # send the last callback first
    callback_delay: float = 0.0  # seconds before each first attempt
    forge: bool = False  # sign with another key
    unsigned: bool = False  # send no signature
    skew: float = 0.0  # seconds added to the signed timestamp
    contradict: bool = False  # after the final callback, send the opposite one
    shape: CallbackShape | None = None  # None for that of the settings

    # The life of the task.
    fail: str | None = None  # end as failed, with this message
    units: str | None = None  # that it costs, if it fails too; None: the settings', if it succeeds
    stuck: bool = False  # stay in processing
    words: dict[str, str] = field(default_factory=dict)  # the words sent in place of statuses
    processing_after: float | None = None  # seconds from creation; None for that of the settings
    finished_after: float | None = None  # seconds from creation; None for that of the settings

    @property
    def accepts(self) -> bool:
        """Whether the task is created, or the element deleted."""
        return self.code is None if self.accept is None else self.accept

    def loses(self, status: str) -> bool:
        """Whether the callback of this status is never sent."""
        return self.lose if isinstance(self.lose, bool) else status in self.lose


NO_FAULT = Fault()


@dataclass(slots=True)
class _ActiveFault:
    fault: Fault  # the rule as it was posted
    remaining: float  # calls that it still applies to; infinity for all
    share_due: float = 0.0  # sum of `share` over the calls that matched; applies when it reaches 1


class Faults:
    """The active faults, oldest first; the first one that matches a call is applied to it."""

    def __init__(self) -> None:
        self._active: list[_ActiveFault] = []

    def add(self, fault: Fault) -> None:
        """Activate a fault for the calls from now on."""
        self._active.append(
            _ActiveFault(fault, float("inf") if fault.times is None else fault.times)
        )

    def clear(self) -> None:
        """Deactivate all faults; tasks that are created already keep theirs."""
        self._active.clear()

    def active(self) -> list[Fault]:
        """The active faults, oldest first."""
        return [active.fault for active in self._active]

    def next_for(self, on: FaultedCall, named: Mapping[str, object]) -> Fault:
        """The fault for a call, or NO_FAULT; `named` has the names it matches by."""
        for active in self._active:
            if not _matches(active.fault, on, named):
                continue
            active.share_due += active.fault.share
            if active.share_due < 1 - 1e-9:
                return NO_FAULT
            active.share_due -= 1
            active.remaining -= 1
            if active.remaining <= 0:
                self._active.remove(active)
            return active.fault
        return NO_FAULT


def _matches(fault: Fault, on: FaultedCall, named: Mapping[str, object]) -> bool:
    return (
        fault.on == on
        and fault.element_name in (None, named.get("element_name"))
        and fault.external_task_id in (None, named.get("external_task_id"))
    )
