"""What attempts came to: kept in batches, and folded into the lanes of their subscribers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from service.core.answer_rate import ThroughputTracker
from service.core.retries import next_delivery, retry_after_seconds
from service.core.subscriber_health import (
    OVERBURDENED,
    AttemptResult,
    FailureThresholds,
    SubscriberHealth,
    apply_results,
)
from service.job_queue import Work
from service.remote.delivery_outcomes import Answered, AttemptOutcome, Failed, Published
from service.steps import health_events
from service.steps.resources import Resources
from service.store import record, subjects, subscriber_health
from service.store.claim import DueDelivery
from service.store.database import Direct
from service.store.record import AttemptRecord, DeliveryUpdate

log = structlog.get_logger()

SUCCESS = range(200, 300)  # RFC 9110, section 15.3
GONE = 410  # Standard Webhooks, "Operational considerations": the subscriber wants no more
SLOW_DOWN = frozenset({429, 503})  # whose Retry-After is honoured: Standard Webhooks
FOREVER = FailureThresholds(float("inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing was sent: the subscriber's secrets cannot be opened, as `detail` says in words.

    A failure of ours, so it says nothing of the subscriber.
    """

    detail: str


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """An attempt at a claimed delivery, and when it was begun and ended. `shared`: its subscriber
    stands for many callback_urls, of which none speaks for the others."""

    due: DueDelivery
    token: str
    attempt: AttemptOutcome | NotSent
    begun: datetime
    ended: datetime
    schedule: tuple[float, ...]
    shared: bool


@dataclass(frozen=True, slots=True)
class DeliveryDecision:
    """What an attempt comes to: the delivery's next state, when it is due again, and what it says
    of the subscriber, if anything."""

    state: str
    due_at: datetime | None
    result: AttemptResult | None


def decide(done: FinishedAttempt, dice: float) -> DeliveryDecision:
    """Success ends a delivery, and so do 410 and the end of its schedule; else it is tried anew."""
    at, attempt = done.ended, done.attempt
    well = AttemptResult(well=True, at=at)
    match attempt:
        case Answered(status=status) if status in SUCCESS:
            return DeliveryDecision("delivered", None, well)
        case Answered(status=status) if status == GONE:
            gone = AttemptResult(well=False, at=at, gone=True)
            return DeliveryDecision("dead", None, well if done.shared else gone)
        case Answered(status=status, retry_after=asked):
            wait = retry_after_seconds(asked, at) if status in SLOW_DOWN else None
            burdened = status in OVERBURDENED
            return _again(done, dice, AttemptResult(False, at, burdened, wait))  # noqa: FBT003 - not well
        case Published():
            return DeliveryDecision("delivered", None, well)
        case Failed(reason=reason):
            burdened = reason == "timeout"
            return _again(done, dice, AttemptResult(well=False, at=at, overburdened=burdened))
        case NotSent():
            return _again(done, dice, None)
        case _:
            assert_never(attempt)


def _again(done: FinishedAttempt, dice: float, result: AttemptResult | None) -> DeliveryDecision:
    made = done.due.attempts - done.due.attempts_at_replay + 1
    asked = None if result is None else result.retry_after
    delay = next_delivery(done.schedule, made, dice, asked)
    if delay is None:
        return DeliveryDecision("dead", None, result)
    return DeliveryDecision("pending", done.ended + timedelta(seconds=delay), result)


def _kept(done: FinishedAttempt, state: str) -> AttemptRecord:
    at, delivered = done.begun, state == "delivered"
    match done.attempt:
        case Answered(status=status, body=body, latency=latency):
            error = None if delivered else f"status {status}"
            return AttemptRecord(at, status, _milliseconds(latency), error, body, delivered)
        case Published(receipt=receipt, latency=latency):
            return AttemptRecord(at, None, _milliseconds(latency), None, receipt, delivered)
        case Failed(reason=reason, detail=detail, latency=latency):
            error = f"{reason}: {detail}"
            return AttemptRecord(at, None, _milliseconds(latency), error, b"", delivered)
        case NotSent(detail=detail):
            return AttemptRecord(at, None, 0.0, f"secret: {detail}", b"", delivered)
        case _:
            assert_never(done.attempt)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


class AttemptRecorder:
    """Writes attempts; knows how fast each subscriber has answered this process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.pace = ThroughputTracker()
        settings = resources.settings
        self._patience = FailureThresholds(settings.failing_after, settings.disable_after)

    async def write(self, done: Sequence[FinishedAttempt]) -> list[None]:
        """All in one transaction. What was not ours any more is only logged."""
        resources = self._resources
        now = resources.clock()
        verdicts = [decide(one, resources.dice()) for one in done]
        ended = [
            DeliveryUpdate(
                one.due.id, one.token, _kept(one, verdict.state), verdict.state, verdict.due_at
            )
            for one, verdict in zip(done, verdicts, strict=True)
        ]
        changed: list[tuple[SubscriberHealth, SubscriberHealth]] = []
        async with resources.database.direct() as tx:
            await subjects.hold_still(tx, sorted({one.due.subject_id for one in done}))
            ours, following, unwell = await record.record_attempts(tx, ended, now)
            results = self._results(done, verdicts, ours, unwell)
            if results:
                changed = await self._fold(tx, results, now)
        for one, verdict, kept in zip(done, verdicts, ended, strict=True):
            _announce(one, verdict, kept.attempt, ours=one.due.id in ours)
        for before, after in changed:
            await health_events.after_health_change(resources, before, after)
        if following or changed:
            resources.queue.wake(Work.DELIVER)
        return [None] * len(done)

    def _results(
        self,
        done: Sequence[FinishedAttempt],
        verdicts: Sequence[DeliveryDecision],
        ours: set[str],
        unwell: set[str],
    ) -> dict[str, list[tuple[FinishedAttempt, AttemptResult]]]:
        """By subscriber, what its lane must hear: nothing, where all went well, and the lane is not
        one of the `unwell`."""
        results: dict[str, list[tuple[FinishedAttempt, AttemptResult]]] = {}
        for one, verdict in zip(done, verdicts, strict=True):
            result, subscriber_id = verdict.result, one.due.subscriber_id
            if result is None or one.due.id not in ours:
                continue
            if result.well:
                self.pace.note(subscriber_id, result.at)
            results.setdefault(subscriber_id, []).append((one, result))
        return {
            subscriber_id: found
            for subscriber_id, found in results.items()
            if subscriber_id in unwell or not all(result.well for _, result in found)
        }

    async def _fold(
        self,
        tx: Direct,
        results: dict[str, list[tuple[FinishedAttempt, AttemptResult]]],
        now: datetime,
    ) -> list[tuple[SubscriberHealth, SubscriberHealth]]:
        """Write the lanes that these results change: as they were, and as they are."""
        dice = self._resources.dice()
        changed = []
        for subscriber_id, before in (
            await subscriber_health.lock_health(tx, list(results))
        ).items():
            found = results[subscriber_id]
            patience = FOREVER if found[0][0].shared else self._patience
            pace = self.pace.of(subscriber_id, now)
            after = apply_results(before, [result for _, result in found], pace, patience, dice)
            if after != before:
                changed.append((before, after))
        if changed:
            await subscriber_health.write(tx, [after for _, after in changed])
        return changed


def _announce(
    done: FinishedAttempt, verdict: DeliveryDecision, kept: AttemptRecord, *, ours: bool
) -> None:
    due = done.due
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
