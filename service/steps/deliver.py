"""Delivery: claim under a lease, sign and send outside any transaction, record the attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from service.core import signatures
from service.core.retries import next_delivery, retry_after_seconds
from service.queue import Work
from service.remote.attempts import Answered, Attempt, Failed, Published
from service.steps.resources import Resources
from service.steps.vault import Sealed
from service.store import deliveries, subjects, subscribers
from service.store.deliveries import Due, Recorded

log = structlog.get_logger()

SUCCESS = range(200, 300)  # RFC 9110, section 15.3
GONE = 410  # Standard Webhooks, "Operational considerations": the subscriber wants no more
SLOW_DOWN = frozenset({429, 503})
LANES = 4  # so many subscribers must hang before a worker has no place left for the others


@dataclass(frozen=True, slots=True)
class Claimed:
    """A due delivery and the token it is recorded under."""

    due: Due
    token: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt comes to: the delivery's next state, and when it is due again."""

    state: str
    due_at: datetime | None = None
    gone: bool = False


async def claim(resources: Resources, limit: int) -> Sequence[Claimed]:
    """Deliveries whose turn has come."""
    now = resources.clock()
    token = resources.new_id("lse")
    lease = timedelta(seconds=resources.settings.delivery_lease)
    async with resources.database.glance(durable=False) as tx:
        due = await deliveries.claim(
            tx,
            now=now,
            lease_until=now + lease,
            token=token,
            limit=limit,
            lane=max(1, resources.settings.delivery_parallel // LANES),
        )
    return [Claimed(one, token) for one in due]


async def deliver(resources: Resources, claimed: Claimed) -> None:
    """One attempt at one delivery: signed now, over the bytes that were stored once."""
    at = resources.clock()
    try:
        headers = _headers(resources, claimed.due, at)
    except Sealed as error:
        attempt: Attempt = Failed("secret", str(error), 0.0)
    else:
        attempt = await resources.sender.post(
            claimed.due.url, headers, claimed.due.body, resources.settings.delivery_timeout
        )
    await _record(resources, claimed, at, attempt)


def _headers(resources: Resources, due: Due, at: datetime) -> dict[str, str]:
    key = resources.vault.open(due.secret, due.subscriber_id)
    signed = signatures.headers([key], due.event_id, int(at.timestamp()), due.body)
    return signed | {"content-type": "application/json"}


async def _record(resources: Resources, claimed: Claimed, at: datetime, attempt: Attempt) -> None:
    due, now = claimed.due, resources.clock()
    verdict = _judge(resources, due, attempt, now)
    kept = _kept(at, attempt, delivered=verdict.state == "delivered")
    async with resources.database.transaction() as tx:
        await subjects.hold_share(tx, due.subject_id)
        if verdict.gone:  # before its deliveries: many may hear of it at once
            await subscribers.hold(tx, due.subscriber_id)
        ours, following = await deliveries.record(
            tx, due, claimed.token, kept, state=verdict.state, due_at=verdict.due_at, now=now
        )
        if ours and verdict.gone:
            await subscribers.disable(tx, due.subscriber_id, "it answered 410 Gone")
            await deliveries.cancel_all(tx, due.subscriber_id, now)
    _announce(due, kept, verdict, ours=ours)
    if following:
        resources.queue.wake(Work.DELIVER, due.subject_id)


def _judge(resources: Resources, due: Due, attempt: Attempt, now: datetime) -> Verdict:
    wait: float | None = None
    match attempt:
        case Answered(status=status) if status in SUCCESS:
            return Verdict("delivered")
        case Answered(status=status) if status == GONE:
            return Verdict("dead", gone=True)
        case Answered(status=status, retry_after=retry_after):
            if status in SLOW_DOWN:
                wait = retry_after_seconds(retry_after, now)
        case Published():
            return Verdict("delivered")
        case Failed():
            pass
        case _:
            assert_never(attempt)
    schedule = resources.settings.delivery_schedule
    delay = next_delivery(schedule, due.attempts + 1, resources.dice(), wait)
    if delay is None:
        return Verdict("dead")
    return Verdict("pending", now + timedelta(seconds=delay))


def _kept(at: datetime, attempt: Attempt, *, delivered: bool) -> Recorded:
    milliseconds = round(attempt.latency * 1000, 1)
    match attempt:
        case Answered(status=status, body=body):
            error = None if delivered else f"status {status}"
            return Recorded(at, status, milliseconds, error, body, delivered)
        case Published(receipt=receipt):
            return Recorded(at, None, milliseconds, None, receipt, delivered)
        case Failed(reason=reason, detail=detail):
            return Recorded(at, None, milliseconds, f"{reason}: {detail}", b"", delivered)
        case _:
            assert_never(attempt)


def _announce(due: Due, kept: Recorded, verdict: Verdict, *, ours: bool) -> None:
    log.info(
        "delivery",
        action="delivery_attempted",
        delivery=due.id,
        event_id=due.event_id,
        type=due.type,
        subject=due.subject_id,
        sequence=due.sequence,
        subscriber=due.subscriber_id,
        attempt=due.attempts + 1,
        status=kept.status,
        latency_ms=kept.latency_ms,
        error=kept.error,
        state=verdict.state,
        next_at=verdict.due_at and verdict.due_at.isoformat(),
        fenced=not ours,
    )
