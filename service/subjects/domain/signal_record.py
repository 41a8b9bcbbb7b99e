"""Signals as they are kept with their subject, for its story: all but callbacks, which are rows of
their own."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from service.subjects.domain.lifecycle import Ignored, Signal, State
from service.subjects.domain.signal_source import SignalSource


class SignalDetails(Struct, frozen=True, omit_defaults=True):
    """What is known of how a signal was learnt. It has no text of anybody's: a message of the
    provider's may quote contents, so its size and hash stand for it."""

    outcome: str | None = None  # what came back, in a word of ours: task_accepted; None: nothing
    sent_at: datetime | None = None  # when what brought the signal began; None: it has no beginning
    status: str | None = None  # the provider's word for the task's status
    provider_at: datetime | None = None  # the provider's time of that status
    code: int | None = None  # the provider's; None: it did not answer, or nobody can read it
    http_status: int | None = None  # likewise
    request_id: str | None = None  # the provider's name of the call (rule P6)
    message_size: int | None = None  # bytes of the provider's message; None: there was none
    message_sha256: str | None = None  # of these bytes, in hex


class SignalRecord(Struct, frozen=True, omit_defaults=True):
    """A signal that was learnt otherwise than by a callback, and what it decided."""

    source: SignalSource  # who learnt it
    at: datetime  # when it was decided on, by our clock; of a move, the subject's updated_at
    signal: Signal | None = None  # None: what came back says nothing of the subject
    before: State | None = None  # where the subject was
    after: State | None = None  # where it moved to; None: it did not move
    ignored: Ignored | None = None  # why it did not move, if the signal was for a move
    details: SignalDetails = SignalDetails()  # how it was learnt

    def document(self) -> dict[str, Any]:
        """The JSON object that is stored, and that the story shows: its details among the rest."""
        members: dict[str, Any] = msgspec.to_builtins(self)
        details: dict[str, Any] = members.pop("details", {})
        return members | details


NO_DETAILS = SignalDetails()

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


_WORD = re.compile(r"[a-z_]{1,32}")


def known_word(text: str | None) -> str | None:
    """A status as the provider spells it; None for a text that is no such word, and might be
    anything."""
    return text if text is not None and _WORD.fullmatch(text) else None


def outcome_word(outcome: object) -> str:
    """The word for an outcome: `task_accepted` for an instance of the class TaskAccepted."""
    return _CAPITAL.sub("_", type(outcome).__name__).lower()


# What tells two signals apart is the rest: those that are alike but for these share one entry.
TIMES = ("at", "sent_at", "request_id")
COUNT, LAST_AT, LAST_REQUEST_ID = "count", "last_at", "last_request_id"  # of such an entry
LEFT_OUT = "left_out"  # the one member of the entry that stands for how many that are not kept


def times_learnt(entry: Mapping[str, Any]) -> int:
    """How many signals a stored entry stands for."""
    return int(entry.get(LEFT_OUT) or entry.get(COUNT) or 1)
