"""What the provider may have answered, as values; and what each of its codes means for a create.

The codes are in service/provider/README.md, rules P45 to P62.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType

from service.provider.domain.task_reports import Report


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the task."""

    report: Report


@dataclass(frozen=True, slots=True)
class Found:
    """The provider has the task, and says this of it."""

    report: Report


@dataclass(frozen=True, slots=True)
class Exists:
    """Our external_task_id is taken: it was submitted before. Look it up."""

    message: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The provider has no such task."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It will never be taken; the provider's words say why."""

    provider_code: int
    message: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Nothing was created; try again after `at_least` seconds, or later.

    `provider_code` is None where nothing was even sent. `parallel`: too many tasks run at once.
    """

    provider_code: int | None
    message: str
    at_least: float
    parallel: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing was created, and nothing will be until a person sees to the account or the key."""

    provider_code: int
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """What came of it is not known: look it up before anything else. `was_read` where an answer
    came and could be read, but says no more than that."""

    reason: str
    was_read: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Unreadable(Unknown):
    """An answer came, but nobody can read it. `beginning` is the first of it, fit for a log."""

    beginning: str


CreateAnswer = Accepted | Exists | Refused | Deferred | Stopped | Unknown
LookUpAnswer = Found | Absent | Deferred | Stopped | Unknown


class Move(Enum):
    """What a code that is not 0 asks for."""

    STOP = auto()
    REFUSE = auto()
    DEFER = auto()
    DOUBT = auto()


MOVES = MappingProxyType(  # rules P46 to P60
    {
        1000: Move.STOP,
        1001: Move.STOP,
        1002: Move.STOP,
        1003: Move.STOP,  # after one re-minted token
        1004: Move.STOP,  # the same
        1100: Move.STOP,
        1101: Move.STOP,
        1102: Move.STOP,
        1103: Move.REFUSE,
        1200: Move.REFUSE,
        1201: Move.REFUSE,  # but for rules P51 and P52: see create and look_up
        1202: Move.REFUSE,
        1203: Move.REFUSE,
        1300: Move.REFUSE,
        1301: Move.REFUSE,
        1302: Move.DEFER,
        1303: Move.DEFER,
        1304: Move.STOP,
        5000: Move.DOUBT,
        5001: Move.DEFER,
        5002: Move.DOUBT,
    }
)
CLASSES = MappingProxyType(  # a code not yet known, by its first two digits: rule P61
    {
        10: Move.STOP,  # authentication: nothing was created, and trying on may lock the key
        11: Move.STOP,  # the account: the task waits, and somebody hears of it
        12: Move.REFUSE,  # the request itself: sent again it would be refused again
        13: Move.DEFER,  # policies and limits alike: waiting loses nothing before the deadline
    }  # anything else leaves doubt: looking up first costs nothing and doubles nothing
)


def move(code: int) -> Move:
    """What a code asks for, known or not."""
    return MOVES.get(code) or CLASSES.get(code // 100, Move.DOUBT)
