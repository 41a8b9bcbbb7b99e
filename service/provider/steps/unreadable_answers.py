"""Answers of the provider's that nobody can read: logged, counted, and shown by readiness.

Such an answer moves no subject. If they go on, every subject would wait for its deadline, and
nobody would know why.
"""

from datetime import datetime, timedelta

import structlog

from service.kit.errors import Unavailable
from service.kit.timestamps import format_rfc3339
from service.provider.remote.outcomes import (
    CreateOutcome,
    LookUpOutcome,
    OutcomeUnknown,
    RetryLater,
    UnreadableResponse,
)
from service.provider.store import unreadable_answers
from service.provider.store.unreadable_answers import UnreadableAnswers
from service.resources import Resources

log = structlog.get_logger()

DEGRADED_AFTER = (
    5  # in a row; ours: a gateway that restarts answers with a page of its own now and then
)
RECENT = timedelta(minutes=10)  # longer than any subject waits for its next look-up
# Whoever has read an answer does not look for counted ones for so long: a statement for each answer
# would cost more than it is worth.
READABLE_FOR = timedelta(seconds=10)


async def count_answer(
    resources: Resources, subject_id: str, answer: CreateOutcome | LookUpOutcome
) -> None:
    """Count what cannot be read, over all workers; an answer that can be ends the row.

    Never raises Unavailable: a count is not worth the answer.
    """
    now, learnt = resources.clock(), resources.typical_durations
    try:
        if isinstance(answer, UnreadableResponse):
            log.warning(
                "provider",
                action="unreadable_answer",
                subject=subject_id,
                reason=answer.reason,
                beginning=answer.excerpt,
            )
            learnt.readable_until = None
            async with resources.database.autocommit() as tx:
                await unreadable_answers.increment(tx, now)
        elif _was_read(answer) and not (learnt.readable_until and now < learnt.readable_until):
            learnt.readable_until = now + READABLE_FOR
            async with resources.database.autocommit() as tx:
                await unreadable_answers.reset(tx)
    except Unavailable as error:
        learnt.readable_until = None
        log.warning("provider", action="not_counted", error=error.reason)


def _was_read(answer: CreateOutcome | LookUpOutcome) -> bool:
    """Whether the provider said something; where the answer was lost, or none came, it did not."""
    match answer:
        case OutcomeUnknown(was_readable=was_readable):
            return was_readable
        case RetryLater(provider_code=None):
            return False
        case _:
            return True


def degraded_reason(found: UnreadableAnswers | None, now: datetime) -> str | None:
    """What readiness says of it, in words; None while it is nothing, or no more."""
    if found is None or found.count < DEGRADED_AFTER or now - found.last_at > RECENT:
        return None
    first, last = format_rfc3339(found.first_at), format_rfc3339(found.last_at)
    return (
        f"the last {found.count} answers could not be read, from {first} to {last}:"
        " see `unreadable_answer` in the log"
    )
