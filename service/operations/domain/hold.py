"""Holds: what an operator has stopped, why, and until when."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
