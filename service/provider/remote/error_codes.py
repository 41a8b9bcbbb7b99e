"""The provider's error codes, and what we do next at each: look up, wait, refuse, or stop; and the
words that some of them come with."""

from enum import Enum, auto
from types import MappingProxyType

INVALID_PARAMETERS_CODE = 1201  # rules P51, P52 and P65
UNKNOWN_RESOURCE_CODE = 1203  # rules P53 and P65
_NOT_THERE_WORDS = ("not found", "not exist", "already deleted")  # rule P65


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


def says_no_element(code: int, message: str) -> bool:
    """Whether an answer to a delete says that there is no such element: rule P65."""
    words = message.casefold()
    if code == UNKNOWN_RESOURCE_CODE and "element" not in words:
        return False  # the path may be what is not there
    return code in (INVALID_PARAMETERS_CODE, UNKNOWN_RESOURCE_CODE) and any(
        said in words for said in _NOT_THERE_WORDS
    )
