"""Outcomes of calls to the provider, as values; and its error codes, with what to do about each.

The codes are in service/provider/README.md, rules P45 to P62.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType

from service.provider.domain.task_reports import TaskReport


@dataclass(frozen=True, slots=True)
class Accepted:
    """A create succeeded: the provider has the task."""

    report: TaskReport  # what it says of the task


@dataclass(frozen=True, slots=True)
class TaskFound:
    """A look-up found the task."""

    report: TaskReport  # what the provider says of it


@dataclass(frozen=True, slots=True)
class AlreadyExists:
    """A create was refused because our external_task_id is taken: it was submitted before, and is
    to be looked up (rule P51)."""

    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class TaskNotFound:
    """A look-up found no such task (rule P52)."""

    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class Refused:
    """A create was refused, and would be again."""

    provider_code: int  # rules P46 to P60
    message: str  # the provider's: why


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Nothing was created, and the call may be repeated."""

    provider_code: int | None  # None: the provider was not reached
    message: str  # the provider's, or why it was not reached
    retry_after: float  # seconds to wait at least
    at_parallel_limit: bool  # too many tasks run at once (rule P56)


@dataclass(frozen=True, slots=True)
class ProviderStopped:
    """Nothing was created, and nothing will be until a person sees to the account or the key."""

    provider_code: int  # rules P46 to P60
    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """Nobody knows whether the call succeeded: look the task up before anything else."""

    reason: str  # a part of a sentence for the log
    # An answer came and could be read, but says no more than that.
    was_readable: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class UnreadableResponse(OutcomeUnknown):
    """An answer came that cannot be read (rule P97)."""

    excerpt: str  # its beginning, without secrets, for the log


CreateOutcome = Accepted | AlreadyExists | Refused | RetryLater | ProviderStopped | OutcomeUnknown
LookUpOutcome = TaskFound | TaskNotFound | RetryLater | ProviderStopped | OutcomeUnknown


class CodeAction(Enum):
    """What to do about an error code, by the outcome that it leads to."""

    STOP = auto()  # ProviderStopped
    REFUSE = auto()  # Refused
    DEFER = auto()  # RetryLater
    LOOK_UP = auto()  # OutcomeUnknown


CODE_ACTIONS = MappingProxyType(  # rules P46 to P60; P42, P51 and P52 are in ProviderClient
    dict.fromkeys((1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1304), CodeAction.STOP)
    | dict.fromkeys((1103, 1200, 1201, 1202, 1203, 1300, 1301), CodeAction.REFUSE)
    | dict.fromkeys((1302, 1303, 5001), CodeAction.DEFER)
    | dict.fromkeys((5000, 5002), CodeAction.LOOK_UP)
)
# By the first two digits of a code that nobody knows: rule P61. Any other is looked up, which costs
# nothing and doubles nothing.
CODE_CLASS_ACTIONS = MappingProxyType(
    {
        10: CodeAction.STOP,  # sign-in: nothing was created, and trying on may lock the key
        11: CodeAction.STOP,  # the account: the subject waits, and readiness says so
        12: CodeAction.REFUSE,  # the request: sent again it would be refused again
        13: CodeAction.DEFER,  # limits: waiting loses nothing before the deadline
    }
)


def action_for_code(code: int) -> CodeAction:
    """Choose what to do about a code that is not 0, known or not."""
    return CODE_ACTIONS.get(code) or CODE_CLASS_ACTIONS.get(code // 100, CodeAction.LOOK_UP)
