"""Why a deletion at the provider waits, by the codes of `subjects/domain/why.py`."""

from datetime import datetime

from service.erasure.domain.erasure import Erasure
from service.status.domain.conditions import Conditions
from service.subjects.domain.why import Why, WhyCode, in_words


def erasure_why(erasure: Erasure, conditions: Conditions, now: datetime) -> Why | None:
    """Why a deletion waits at `now`; None if it has ended."""
    at, since = erasure.next_try_at, min(erasure.requested_at, now)
    if at is None:
        return None
    held = conditions.held_copy(since, now)
    if held is not None:
        return held
    if at <= now:
        return conditions.due("has it deleted at the provider", at, now)
    if erasure.lease_token is not None:
        return Why(WhyCode.HELD_LEASE, "A worker is asking the provider for it.", since, at)
    wait = in_words(at - now)
    if erasure.stopped:
        text = f"The provider refuses our account or key: one deletion is tried in {wait}."
        return Why(WhyCode.PROVIDER_STOPPED, text, since, at)
    return Why(WhyCode.RETRY_AT, f"The provider has not done it: again in {wait}.", since, at)
