"""Bulk operations: the same done to many, by workers, in small steps."""

from enum import StrEnum


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
    SUBSCRIBER_DISABLED = "subscriber_disabled"  # the one that it replays to
    SUBSCRIBER_GONE = "subscriber_gone"  # likewise
