"""The snapshot: what waits in each stage, and what else all processes show alike."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct, field

MAX_COUNTED: Final = 10_000  # items of a stage, and subscribers: there may be more than are counted
TAKEN_EVERY: Final = timedelta(seconds=15)
STALE_AFTER: Final = timedelta(seconds=60)  # then a snapshot says nothing of the present any more


class SubscriberCondition(StrEnum):
    """How it is with a subscriber: the first of these that holds."""

    DISABLED = "disabled"  # nothing is sent to it until its account makes it active again
    PAUSED = "paused"  # by its account
    CIRCUIT_OPEN = "circuit_open"  # it failed so often that only one probe at a time is sent
    FAILING = "failing"  # its last attempt failed
    SLOWED = "slowed"  # it was overloaded, and is sent to at a rate that it seems to take
    HEALTHY = "healthy"  # none of these


class Waiting(Struct, frozen=True):
    """What waits in one stage."""

    items: int  # counted up to MAX_COUNTED
    oldest_at: datetime | None  # since when the oldest of them waits; None if there are none


class Gauges(Struct, frozen=True):
    """What a snapshot tells beside the stages. It is stored as JSON, which processes of the release
    before and after read: a new field has a default."""

    provider_slots_used: int  # subjects that count against the provider's parallel limit
    provider_slots_limit: int  # the configured limit
    provider_slots_learnt: int  # the limit as learnt from the provider's refusals: at most that
    submission_stopped_code: int | None  # the provider's code that stopped it; None: it is not
    # By SubscriberCondition; of MAX_COUNTED subscribers at most. Those that stand for callback_urls
    # are left out: how one of these URLs does says nothing of the others.
    subscribers: Mapping[str, int]
    table_bytes: Mapping[str, int]  # by table, with its indexes and its large values
    oldest_transaction_at: datetime | None  # since when the oldest one runs; None: none does
    holds: Mapping[str, int]  # how many are in force, by HoldTarget
    # When the oldest of each kind ended, came or was written that pruning has still to look at, by
    # Kind of retention; one of which there is none is left out.
    oldest_kept: Mapping[str, datetime] = field(default_factory=dict)
    kept_seconds: Mapping[str, float] = field(
        default_factory=dict
    )  # how long, by Kind; 0: for ever


class Snapshot(Struct, frozen=True):
    """A snapshot as it was taken, with what the audit found last."""

    taken_at: datetime  # all else is as of then
    stages: Mapping[str, Waiting]  # by Stage
    gauges: Gauges
    audit: Mapping[str, int] | None  # violations by the name of the check; None: not audited yet
    audited_at: datetime | None  # when the audit ended; None: not audited yet

    def age(self, now: datetime) -> timedelta:
        """How old it is; nothing if the clock of whoever took it is ahead."""
        return max(timedelta(0), now - self.taken_at)
