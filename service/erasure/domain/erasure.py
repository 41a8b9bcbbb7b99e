"""Erasure: what a subject held is wiped at once; what the provider made of it is deleted there
first, if that is asked for."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from service.kit.timestamps import format_rfc3339


class ErasureState(StrEnum):
    """How far the deletion at the provider is."""

    PENDING = "pending"  # it is tried until the provider has done it
    DONE = "done"  # the provider has deleted it, or has nothing to delete
    FAILED = "failed"  # the provider refuses, or has not answered for too long


class NotDone(StrEnum):
    """Why a try has not deleted it: the `code` of an erasure's error."""

    REFUSED = "provider_refused"  # the provider would refuse it again
    UNAVAILABLE = "provider_unavailable"  # the provider could not do it, or its answer was lost
    STOPPED = "provider_stopped"  # the provider refuses our account or key
    GIVEN_UP = "given_up"  # it was tried for days
    LEFT_BEHIND = "left_behind"  # it was asked for in the database that this one is a copy of


class Erasure(Struct, frozen=True, kw_only=True):
    """A deletion at the provider, which was asked for: a row of the table `erasures`."""

    subject_id: str  # ours, of whose element it is
    state: ErasureState
    element_id: str | None  # the provider's; None: it is asked first what it made
    attempts: int = 0  # tries so far; those that the provider stopped do not count
    next_try_at: datetime | None  # or when the lease of a try ends; None: it has ended
    lease_token: str | None = None  # of the worker that tries it now; None: none does
    stopped: bool = False  # whether the provider refused our account or key at the last try
    error: Mapping[str, Any] | None = None  # `code`, `message`, `provider_code`; None: none yet
    requested_at: datetime  # when it was asked for, for the last time
    finished_at: datetime | None = None  # None while it is pending


_TEXTS: Final = MappingProxyType(
    {
        ErasureState.PENDING: "The provider is asked to delete it; then it is erased here too.",
        ErasureState.DONE: "The provider has nothing of it any more.",
        ErasureState.FAILED: (
            "The provider has not deleted it: with ?provider=true it is asked again."
        ),
    }
)


def public_erasure(erasure: Erasure) -> dict[str, Any]:
    """The member `erasure` of a subject, as callers see it. While a worker tries it, nobody knows
    when it is tried next."""
    next_try_at = None if erasure.lease_token else erasure.next_try_at
    return {
        "state": erasure.state.value,
        "element_id": erasure.element_id,
        "text": _TEXTS[erasure.state],
        "attempts": erasure.attempts,
        "error": erasure.error,
        "requested_at": format_rfc3339(erasure.requested_at),
        "next_try_at": format_rfc3339(next_try_at),
        "finished_at": format_rfc3339(erasure.finished_at),
    }


def erasure_tag(erasure: Erasure) -> str:
    """What the ETag of a subject has of its erasure: it changes with all that is shown of that but
    times."""
    asked_at = int(erasure.requested_at.timestamp() * 1000)
    stopped = "-stopped" if erasure.stopped else ""
    return f"-{erasure.state}-{erasure.attempts}-{asked_at:x}{stopped}"
