"""Bulk operations: the same done to many, by workers, in small steps."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from service.kit.timestamps import format_rfc3339, parse_rfc3339

_TIMES: Final = frozenset({"since", "until", "created_after", "created_before"})


class OperationKind(StrEnum):
    """What is done to each."""

    RESEND = "resend"  # deliveries are sent once more
    REPLAY = "replay"  # events are delivered to a subscriber anew
    CANCEL = "cancel"  # queued subjects are canceled


class OperationState(StrEnum):
    """Where a bulk operation stands."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by an operator: what was done stays done


class StopReason(StrEnum):
    """Why a bulk operation was stopped before its end."""

    ASKED = "asked"  # by somebody
    LEFT_BEHIND = "left_behind"  # it ran in the database that this one was copied from
    SUBSCRIBER_DISABLED = "subscriber_disabled"  # the one that it replays to
    SUBSCRIBER_GONE = "subscriber_gone"  # likewise


def shown_filter(stored: Mapping[str, str]) -> dict[str, str | None]:
    """A filter as people see it: its times in UTC, to the millisecond."""
    return {
        name: format_rfc3339(parse_rfc3339(value)) if name in _TIMES else value
        for name, value in stored.items()
    }
