"""What the provider may have answered, as values; and what each of its codes means for a create.

The codes are in service/provider/README.md, rules P45 to P62.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType

from service.provider.domain.task_reports import TaskReport


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the task."""

    report: TaskReport


@dataclass(frozen=True, slots=True)
class TaskFound:
    """The provider has the task, and says this of it."""

    report: TaskReport


@dataclass(frozen=True, slots=True)
class AlreadyExists:
    """Our external_task_id is taken: it was submitted before. Look it up."""

    message: str


@dataclass(frozen=True, slots=True)
class TaskNotFound:
    """The provider has no such task."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never be taken; the provider's words say why."""

    provider_code: int
    message: str


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Nothing was created; try again after `retry_after` seconds, or later.

    `provider_code` is None where nothing was even sent. `parallel`: too many tasks run at once.
    """

    provider_code: int | None
    message: str
    retry_after: float
    at_parallel_limit: bool


@dataclass(frozen=True, slots=True)
class ProviderStopped:
    """Nothing was created, and nothing will be until a person sees to the account or the key."""

    provider_code: int
    message: str


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """What came of it is not known: look it up before anything else. `was_read` where an answer
    came and could be read, but says no more than that."""

    reason: str
    was_readable: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class UnreadableResponse(OutcomeUnknown):
    """An answer came, but nobody can read it. `beginning` is the first of it, fit for a log."""

    excerpt: str


CreateOutcome = Accepted | AlreadyExists | Refused | RetryLater | ProviderStopped | OutcomeUnknown
LookUpOutcome = TaskFound | TaskNotFound | RetryLater | ProviderStopped | OutcomeUnknown


class CodeAction(Enum):
    """What a code that is not 0 asks for."""

    STOP = auto()
    REFUSE = auto()
    DEFER = auto()
    LOOK_UP = auto()


CODE_ACTIONS = MappingProxyType(  # rules P46 to P60
    {
        1000: CodeAction.STOP,
        1001: CodeAction.STOP,
        1002: CodeAction.STOP,
        1003: CodeAction.STOP,  # after one re-minted token
        1004: CodeAction.STOP,  # the same
        1100: CodeAction.STOP,
        1101: CodeAction.STOP,
        1102: CodeAction.STOP,
        1103: CodeAction.REFUSE,
        1200: CodeAction.REFUSE,
        1201: CodeAction.REFUSE,  # but for rules P51 and P52: see create and look_up
        1202: CodeAction.REFUSE,
        1203: CodeAction.REFUSE,
        1300: CodeAction.REFUSE,
        1301: CodeAction.REFUSE,
        1302: CodeAction.DEFER,
        1303: CodeAction.DEFER,
        1304: CodeAction.STOP,
        5000: CodeAction.LOOK_UP,
        5001: CodeAction.DEFER,
        5002: CodeAction.LOOK_UP,
    }
)
CODE_CLASS_ACTIONS = MappingProxyType(  # a code not yet known, by its first two digits: rule P61
    {
        10: CodeAction.STOP,  # authentication: nothing was created, and trying on may lock the key
        11: CodeAction.STOP,  # the account: the task waits, and somebody hears of it
        12: CodeAction.REFUSE,  # the request itself: sent again it would be refused again
        13: CodeAction.DEFER,  # policies and limits: waiting loses nothing before the deadline
    }  # anything else leaves doubt: looking up first costs nothing and doubles nothing
)


def action_for_code(code: int) -> CodeAction:
    """What a code asks for, known or not."""
    return CODE_ACTIONS.get(code) or CODE_CLASS_ACTIONS.get(code // 100, CodeAction.LOOK_UP)
