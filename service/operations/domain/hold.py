"""Holds: what an operator has stopped, why, and until when."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

RETRY_AFTER = 60.0  # seconds; Retry-After while a hold has no end; ours


class HoldTarget(StrEnum):
    """What a hold stops."""

    INTAKE = "intake"  # new requests are refused; those that were accepted go on
    SUBMISSIONS = "submissions"  # queued subjects stay queued
    DELIVERIES = "deliveries"  # no attempt is begun, and none is spent


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold, as an operator made it."""

    id: str  # hld_…
    what: HoldTarget  # that it stops
    account_id: str | None  # whose; None: every account's
    account: str | None  # the name of that account; None: every account's
    reason: str  # in the operator's words, which callers are not shown
    until: datetime | None  # when it ends by itself; None: when it is released
    created_at: datetime  # by our clock

    def stops(self, what: HoldTarget, account_id: str) -> bool:
        """Whether it stops this for the account of this id, while it is in force."""
        return self.what is what and self.account_id in {None, account_id}


class HeldAccount(NamedTuple):
    """What a statement finds of a hold that keeps it from writing."""

    account_id: str | None  # whose; None: every account's
    until: datetime | None  # when it ends by itself; None: when it is released


def retry_after(found: Collection[HeldAccount], now: datetime) -> float:
    """After how many seconds a request that these holds refuse may be sent again: the rest of the
    longest, or RETRY_AFTER if one has no end."""
    ends = [hold.until for hold in found if hold.until is not None]
    return (max(ends) - now).total_seconds() if len(ends) == len(found) else RETRY_AFTER
