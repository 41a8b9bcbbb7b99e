"""Outcomes of calls to the provider, as values; error_codes.py says which code leads to which."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.provider.domain.task_reports import TaskReport


@dataclass(frozen=True, slots=True)
class TaskAccepted:
    """A create succeeded: the provider has the task."""

    report: TaskReport  # what it says of the task


@dataclass(frozen=True, slots=True)
class TaskFound:
    """A look-up found the task."""

    report: TaskReport  # what the provider says of it


@dataclass(frozen=True, slots=True)
class TasksListed:
    """A page of the provider's list of our tasks."""

    reports: Sequence[TaskReport]  # what it says of each; those nobody can read are left out
    count: int  # tasks of the page, with those


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
class ElementDeleted:
    """A delete succeeded: the provider has the element no more."""


@dataclass(frozen=True, slots=True)
class ElementNotFound:
    """A delete found no such element: there is nothing to delete (rule P65)."""

    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class Refused:
    """A create or a delete was refused, and would be again."""

    provider_code: int  # rules P46 to P60
    message: str  # the provider's: why


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Nothing was done, and the call may be repeated."""

    provider_code: int | None  # None: the provider was not reached
    message: str  # the provider's, or why it was not reached
    retry_after: float  # seconds to wait at least
    at_parallel_limit: bool  # too many tasks run at once (rule P56)


@dataclass(frozen=True, slots=True)
class ProviderStopped:
    """Nothing was done, and nothing will be until a person sees to the account or the key."""

    provider_code: int  # rules P46 to P60
    message: str  # the provider's


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
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
