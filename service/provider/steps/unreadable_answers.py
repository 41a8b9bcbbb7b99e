"""Counting the provider's answers that cannot be read, which readiness reports (rule P97).

Such an answer moves no subject. If they go on, every subject would wait for its deadline, and
nobody would know why.
"""

from datetime import datetime, timedelta

import structlog

from service.kit.errors import Unavailable
from service.kit.timestamps import format_rfc3339
from service.provider.remote.outcomes import (
    CreateOutcome,
    DeleteOutcome,
    LookUpOutcome,
    OutcomeUnknown,
    RetryLater,
    UnreadableResponse,
)
from service.provider.store import unreadable_answers as unreadable_answer_store
from service.provider.store.unreadable_answers import UnreadableAnswers
from service.resources import Resources

log = structlog.get_logger()

DEGRADED_AFTER = 5  # in a row; rule P97: a gateway that restarts gives a page of its own at times
RECENT = timedelta(minutes=10)  # longer than any subject waits for its next look-up


async def count_answer(
    resources: Resources, subject_id: str, outcome: CreateOutcome | LookUpOutcome | DeleteOutcome
) -> None:
    """Count an answer that cannot be read, over all workers; one that can be resets the count.

    Never raises Unavailable: the outcome matters more than the count.
    """
    now, throttle = resources.clock(), resources.unreadable_answer_throttle
    try:
        if isinstance(outcome, UnreadableResponse):
            log.warning(
                "provider",
                action="unreadable_answer",
                subject=subject_id,
                reason=outcome.reason,
                excerpt=outcome.excerpt,
            )
            throttle.clear()
            async with resources.database.autocommit() as tx:
                await unreadable_answer_store.increment(tx, now)
        elif _was_readable(outcome) and throttle.take_reset(now):
            async with resources.database.autocommit() as tx:
                await unreadable_answer_store.reset(tx)
    except Unavailable as error:
        throttle.clear()
        log.warning("provider", action="answer_not_counted", error=error.reason)


def _was_readable(outcome: CreateOutcome | LookUpOutcome | DeleteOutcome) -> bool:
    """Whether an answer came and was read; it did not if it was lost, or nothing was sent."""
    match outcome:
        case OutcomeUnknown(was_readable=was_readable):
            return was_readable
        case RetryLater(provider_code=None):
            return False
        case _:
            return True


def degraded_reason(counted: UnreadableAnswers | None, now: datetime) -> str | None:
    """Why readiness reports the provider as degraded; None while there are too few unreadable
    answers, or none is recent."""
    if counted is None or counted.count < DEGRADED_AFTER or now - counted.last_at > RECENT:
        return None
    first, last = format_rfc3339(counted.first_at), format_rfc3339(counted.last_at)
    return (
        f"the last {counted.count} answers could not be read, from {first} to {last}:"
        " see `unreadable_answer` in the log"
    )
