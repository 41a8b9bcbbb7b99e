"""Why something waits: a code, a sentence, since when, until when at the latest, who can mend it.

`status/domain/subject_why.py`, `delivery/domain/delivery_why.py`,
`delivery/domain/subscriber_why.py` and `erasure/domain/erasure_why.py` decide which of the codes it
is.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from service.kit.timestamps import format_rfc3339


class MendedBy(StrEnum):
    """Who can end the waiting."""

    TIME = "time"  # it ends by itself
    OPERATOR = "operator"  # of this service
    CALLER = "caller"  # the account that made it
    SUBSCRIBER = "subscriber"  # who receives the account's events
    PROVIDER = "provider"


class WhyCode(StrEnum):
    """What something waits for. `service/README.md` has the same as a table."""

    MEDIA_CHECK = "media_check"  # its media, given by URL, are checked, or soon will be
    MEDIA_RETRY = "media_retry"  # its media were out of reach, and are fetched again
    ACCOUNT_TURN = "account_turn"  # others of its account go first, and accounts take turns
    PROVIDER_SLOTS = "provider_slots"  # the provider has as many subjects of ours as it may
    PROVIDER_STOPPED = "provider_stopped"  # the provider refuses the account or key
    HELD_LEASE = "held_lease"  # a worker is sending it at this moment
    UNCONFIRMED_LOOK_UP = "unconfirmed_look_up"  # it may have been sent: the provider is asked
    NEWS_DUE = "news_due"  # the provider works on it, and calls back or is asked
    RETRY_AT = "retry_at"  # it was put off, or an attempt failed: it is tried again
    EARLIER_EVENT_FIRST = "earlier_event_first"  # an earlier event of its subject goes first
    SLOWED = "slowed"  # the subscriber takes no more at once
    CIRCUIT_OPEN = "circuit_open"  # the subscriber failed again and again
    PAUSED = "paused"  # the subscriber is paused, by its account or an operator
    DISABLED = "disabled"  # the subscriber is disabled
    HELD_COPY = "held_copy"  # the database is a copy, or was restored, and nobody has said which
    HELD = "held"  # an operator holds submissions or deliveries
    DUE = "due"  # nothing is in the way: a worker is about to take it
    NO_WORKER = "no_worker"  # it is due, and no worker runs
    DEADLINE_PASSED = "deadline_passed"  # it is about to fail


MENDED_BY: Final[Mapping[WhyCode, MendedBy]] = MappingProxyType(
    {
        WhyCode.MEDIA_CHECK: MendedBy.TIME,
        WhyCode.MEDIA_RETRY: MendedBy.CALLER,
        WhyCode.ACCOUNT_TURN: MendedBy.TIME,
        WhyCode.PROVIDER_SLOTS: MendedBy.TIME,
        WhyCode.PROVIDER_STOPPED: MendedBy.OPERATOR,
        WhyCode.HELD_LEASE: MendedBy.TIME,
        WhyCode.UNCONFIRMED_LOOK_UP: MendedBy.TIME,
        WhyCode.NEWS_DUE: MendedBy.PROVIDER,
        WhyCode.RETRY_AT: MendedBy.TIME,
        WhyCode.EARLIER_EVENT_FIRST: MendedBy.SUBSCRIBER,
        WhyCode.SLOWED: MendedBy.SUBSCRIBER,
        WhyCode.CIRCUIT_OPEN: MendedBy.SUBSCRIBER,
        WhyCode.PAUSED: MendedBy.CALLER,
        WhyCode.DISABLED: MendedBy.CALLER,
        WhyCode.HELD_COPY: MendedBy.OPERATOR,
        WhyCode.HELD: MendedBy.OPERATOR,
        WhyCode.DUE: MendedBy.TIME,
        WhyCode.NO_WORKER: MendedBy.OPERATOR,
        WhyCode.DEADLINE_PASSED: MendedBy.TIME,
    }
)

# The codes of what may wait without an end that a clock brings: only theirs is `until` ever None.
ENDLESS: Final = frozenset(
    {
        WhyCode.EARLIER_EVENT_FIRST,
        WhyCode.SLOWED,
        WhyCode.PAUSED,
        WhyCode.DISABLED,
        WhyCode.HELD_COPY,
        WhyCode.HELD,
        WhyCode.NO_WORKER,
    }
)

# Units of durations in words: from how many seconds on, in how many each, and its name.
_UNITS: Final = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))


class Why(Struct, frozen=True):
    """Why something that is not finished waits."""

    code: WhyCode  # stable, for programs
    text: str  # one sentence, for people
    since: datetime  # since when it waits for this, as far as is known; never in the future
    # When this waiting ends or becomes another, at the latest; None: no clock ends it (ENDLESS).
    until: datetime | None

    @property
    def mended_by(self) -> MendedBy:
        """Who can end it."""
        return MENDED_BY[self.code]


def why_member(why: Why | None) -> dict[str, Any]:
    """The member `why` of what waits, as callers see it; empty for None."""
    if why is None:
        return {}
    shown = {
        "code": why.code.value,
        "text": why.text,
        "since": format_rfc3339(why.since),
        "until": format_rfc3339(why.until),
        "mended_by": why.mended_by.value,
    }
    return {"why": shown}


def in_words(duration: timedelta) -> str:
    """A duration, rounded up: `42 s`, `4 min`, `3 h`, `2 days`. One that is over is `0 s`."""
    seconds = max(0.0, duration.total_seconds())
    for least, unit, name in _UNITS:
        if seconds >= least:
            return f"{-int(-seconds // unit)} {name}"
    return f"{-int(-seconds // 1)} s"
