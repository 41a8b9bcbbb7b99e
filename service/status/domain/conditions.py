"""Conditions that all that waits has in common: holds, workers, and the provider."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from service.installation.domain.installation import Held, HeldBecause
from service.operations.domain.hold import Hold, HoldTarget
from service.subjects.domain.why import Why, WhyCode, in_words
from service.submission.domain.parallel_limit import ParallelLimit, current_limit

_HELD_COPY: Final = {
    HeldBecause.ELSEWHERE: "This database is a copy, or its address has changed: nothing is sent "
    "until an operator says which.",
    HeldBecause.WENT_BACK: "This database was restored from a backup: nothing is sent until an "
    "operator lets it go on.",
}


class Conditions(Struct, frozen=True):
    """The conditions as they were read last."""

    worker_runs: bool  # whether a worker listens for work
    sweep_interval: timedelta  # between a worker's looks for work that nobody told it of
    holds: Sequence[Hold]  # those that may be in force
    stopped_code: int | None  # the provider's code that stopped submission; None: not stopped
    next_probe_at: datetime | None  # while it is stopped: when one subject is sent to find out
    learnt_limit: ParallelLimit | None  # from the provider's refusals; None: there were none
    configured_limit: int  # subjects that may be with the provider at once
    with_provider: int  # subjects that are, from claim to end
    typical_durations: Mapping[str, float]  # seconds that a task takes, by reference type
    installation: Held | None = None  # why this process is held, and all else waits; None: it isn't

    def parallel_limit(self, now: datetime) -> int:
        """How many subjects may be with the provider at this time."""
        return current_limit(self.learnt_limit, self.configured_limit, now)

    def held_copy(self, since: datetime, now: datetime) -> Why | None:
        """Why whatever has waited since then is held with all else; None if it is not. Only
        operators are shown whose the database is."""
        held = self.installation
        if held is None:
            return None
        text = _HELD_COPY[held.because]
        return Why(WhyCode.HELD_COPY, text, min(max(since, held.since or since), now), None)

    def held(self, what: HoldTarget, account_id: str, since: datetime, now: datetime) -> Why | None:
        """Why what an account has waited with since then is held; None if no hold is in force. Only
        operators are shown a hold's reason."""
        holds = [
            hold
            for hold in self.holds
            if hold.stops(what, account_id) and (hold.until is None or hold.until > now)
        ]
        if not holds:
            return None
        since = max(since, min(hold.created_at for hold in holds))
        ends = [hold.until for hold in holds if hold.until is not None]
        until = max(ends) if len(ends) == len(holds) else None
        rest = "until that is released" if until is None else f"for {in_words(until - now)} more"
        text = f"An operator holds {what.value} {rest}."
        return Why(WhyCode.HELD, text, min(since, now), until)

    def due(self, deed: str, since: datetime, now: datetime) -> Why:
        """Why something waits that a worker may take since then; `deed` is what the worker does
        with it: `sends it`."""
        since = min(since, now)
        if not self.worker_runs:
            return Why(WhyCode.NO_WORKER, f"No worker runs that {deed}.", since, None)
        text = f"In a moment a worker {deed}."
        return Why(WhyCode.DUE, text, since, now + self.sweep_interval)
