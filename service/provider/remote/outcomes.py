"""Outcomes of calls to the provider, as values; error_codes.py says which code leads to which."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.provider.domain.task_reports import TaskReport


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """An answer of the provider's without its data: for people who ask the provider about it."""

    http_status: int
    code: int  # the provider's; 0: success
    request_id: str | None  # the provider's name of the call (rule P6); None: it gave none
    message: str  # the provider's, cut and cleaned


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What every outcome has; it tells no outcome from another."""

    head: AnswerHead | None = field(default=None, compare=False, repr=False)  # None: no answer


@dataclass(frozen=True, slots=True)
class TaskAccepted(_Outcome):
    """A create succeeded: the provider has the task."""

    report: TaskReport  # what it says of the task


@dataclass(frozen=True, slots=True)
class TaskFound(_Outcome):
    """A look-up found the task."""

    report: TaskReport  # what the provider says of it


@dataclass(frozen=True, slots=True)
class TasksListed(_Outcome):
    """A page of the provider's list of our tasks."""

    reports: Sequence[TaskReport]  # what it says of each; those nobody can read are left out
    count: int  # tasks of the page, with those


@dataclass(frozen=True, slots=True)
class AlreadyExists(_Outcome):
    """A create was refused because our external_task_id is taken: it was submitted before, and is
    to be looked up (rule P51)."""

    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class TaskNotFound(_Outcome):
    """A look-up found no such task (rule P52)."""

    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class ElementDeleted(_Outcome):
    """A delete succeeded: the provider has the element no more."""


@dataclass(frozen=True, slots=True)
class ElementNotFound(_Outcome):
    """A delete found no such element: there is nothing to delete (rule P65)."""

    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class Refused(_Outcome):
    """A create or a delete was refused, and would be again."""

    provider_code: int  # rules P46 to P60
    message: str  # the provider's: why


@dataclass(frozen=True, slots=True)
class RetryLater(_Outcome):
    """Nothing was done, and the call may be repeated."""

    provider_code: int | None  # None: the provider was not reached
    message: str  # the provider's, or why it was not reached
    retry_after: float  # seconds to wait at least
    at_parallel_limit: bool  # too many tasks run at once (rule P56)


@dataclass(frozen=True, slots=True)
class ProviderStopped(_Outcome):
    """Nothing was done, and nothing will be until a person sees to the account or the key."""

    provider_code: int  # rules P46 to P60
    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class OutcomeUnknown(_Outcome):
    """Nobody knows whether the call succeeded: after a create, look the task up before anything
    else. A delete may be repeated, as it does no more the second time."""

    reason: str  # a part of a sentence for the log
    # An answer came and could be read, but says no more than that.
    was_readable: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class UnreadableResponse(OutcomeUnknown):
    """An answer came that cannot be read (rule P97)."""

    excerpt: str  # its beginning, without secrets, for the log


CreateOutcome = (
    TaskAccepted | AlreadyExists | Refused | RetryLater | ProviderStopped | OutcomeUnknown
)
LookUpOutcome = TaskFound | TaskNotFound | RetryLater | ProviderStopped | OutcomeUnknown
DeleteOutcome = (
    ElementDeleted | ElementNotFound | Refused | RetryLater | ProviderStopped | OutcomeUnknown
)
ListOutcome = TasksListed | RetryLater | ProviderStopped | OutcomeUnknown
