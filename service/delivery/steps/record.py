"""Recording attempts in batches: retry, dead or delivered, and the health of their subscribers.

What follows from 410 Gone, Retry-After and time-outs is decided here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never
from urllib.parse import urlsplit

import structlog

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.retries import retry_delay
from service.delivery.domain.subscriber_health import (
    OVERLOADED,
    AttemptResult,
    FailureThresholds,
    SubscriberHealth,
    apply_results,
)
from service.delivery.domain.throughput import ThroughputTracker
from service.delivery.remote.outcomes import Answered, AttemptOutcome, Failed, NotSent, Published
from service.delivery.steps import health_events
from service.delivery.steps.attempt_metrics import count_attempts
from service.delivery.store import record as record_store
from service.delivery.store import subscriber_health as health_store
from service.delivery.store.claim import DueDelivery
from service.delivery.store.record import AttemptRecord
from service.kit.concurrency.batcher import Batcher
from service.kit.database.connection import Connection
from service.kit.errors import Unavailable
from service.kit.timestamps import parse_retry_after
from service.resources import Resources, end_of_lease
from service.subjects.domain.work import Work
from service.subjects.store import work

log = structlog.get_logger()

GONE = 410  # Standard Webhooks, "Operational considerations": the subscriber wants no more
RETRY_AFTER_STATUSES = frozenset({429, 503})  # where the header is honoured: Standard Webhooks
NEVER = FailureThresholds(float("inf"), float("inf"))
MAX_WRITERS = 4  # batches recorded at a time; with fewer, attempts wait for the disk
MAX_BATCH = 64  # attempts
MAX_LOGGED = 8  # attempts that delivered, of one batch, that have a line each in the log
RETRY_INTERVAL = 0.2  # seconds between tries to record while Postgres is away

# By subscriber id: the deliveries that were attempted, with what each says of its health.
Results = dict[str, list[tuple[DueDelivery, AttemptResult]]]
Changes = list[tuple[SubscriberHealth, SubscriberHealth]]  # health before and after


def decide(
    delivery: DueDelivery,
    outcome: AttemptOutcome,
    times: tuple[datetime, datetime],
    schedule: Sequence[float],
    random: float,
) -> AttemptRecord:
    """What an attempt makes of its delivery: success ends it, and so do 410 Gone and the end of its
    retry schedule; else it is due again.

    `times` are those at which the attempt started and ended; `schedule` has the seconds to wait
    after each failure; `random` is a random number in [0, 1).
    """
    started_at, ended_at = times
    result = _result(outcome, ended_at, shared=delivery.shared)
    state, due_at = DeliveryState.DELIVERED, None
    if not outcome.delivered:
        state = DeliveryState.DEAD
        attempts_made = delivery.attempts - delivery.attempts_at_replay + 1
        retry_after = None if result is None else result.retry_after
        delay = retry_delay(schedule, attempts_made, random, retry_after)
        if delay is not None and outcome.status != GONE:
            state, due_at = DeliveryState.PENDING, ended_at + timedelta(seconds=delay)
    return AttemptRecord(
        delivery,
        started_at,
        outcome.status,
        round(outcome.latency * 1000, 1),
        outcome.error,
        outcome.body,
        state,
        due_at,
        result,
    )


def _result(outcome: AttemptOutcome, at: datetime, *, shared: bool) -> AttemptResult | None:
    """What an attempt says of its subscriber's health; None if it says nothing. A subscriber that
    stands for many callback_urls is healthy although one of them is gone."""
    match outcome:
        case NotSent():
            return None
        case Failed(reason=reason):
            return AttemptResult(succeeded=False, at=at, overloaded=reason == "timeout")
        case Answered(status=status) if status == GONE:
            return AttemptResult(succeeded=shared, at=at, gone=not shared)
        case Answered(status=status, retry_after=header, delivered=False):
            wait = parse_retry_after(header, at) if status in RETRY_AFTER_STATUSES else None
            overloaded = status in OVERLOADED
            return AttemptResult(succeeded=False, at=at, overloaded=overloaded, retry_after=wait)
        case Answered() | Published():
            return AttemptResult(succeeded=True, at=at)
        case _:
            assert_never(outcome)


class AttemptRecorder:
    """Records attempts in batches, and tracks how fast each subscriber answers this process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.throughput = ThroughputTracker()
        settings = resources.settings
        self._thresholds = FailureThresholds(settings.failing_after, settings.disable_after)
        self._batcher = Batcher(self.write, "attempts", writers=MAX_WRITERS, max_batch=MAX_BATCH)

    async def record(
        self, delivery: DueDelivery, outcome: AttemptOutcome, started_at: datetime
    ) -> bool:
        """Record an attempt that has just ended; whether other deliveries are due by that.
        Unavailable if it fails for as long as a lease lasts: then the delivery is sent again."""
        resources, ended_at = self._resources, self._resources.clock()
        schedule = resources.settings.delivery_schedule
        if delivery.settings is not None:
            schedule = delivery.settings.schedule
        times = started_at, ended_at
        attempt = decide(delivery, outcome, times, schedule, resources.random())
        until = end_of_lease(resources, ended_at)
        while True:
            try:
                return await self._batcher.submit(attempt)
            except Unavailable:
                if resources.clock() > until:
                    raise
                await asyncio.sleep(RETRY_INTERVAL)

    async def write(self, attempts: Sequence[AttemptRecord]) -> list[bool]:
        """Record these attempts; for each, whether other deliveries are due by that. One whose
        lease was over is only logged.

        Failures are recorded together with the health of their subscribers, so that no claim comes
        in between; that is locked first, as the lock order has it. Successes, which seldom change
        any health, need not wait for it; alone they take one statement.
        """
        now, database = self._resources.clock(), self._resources.database
        if all(attempt.state is DeliveryState.DELIVERED for attempt in attempts):
            async with database.autocommit() as tx:
                recorded, following, results = await self._record(tx, attempts, now)
            changed = []
        else:
            async with database.transaction() as tx:
                health = await health_store.lock_health(tx, _failing(attempts))
                await record_store.lock_claimed(tx, attempts)
                recorded, following, results = await self._record(tx, attempts, now)
                changed = await self._change_health(tx, health, results, now)
                results = {id_: found for id_, found in results.items() if id_ not in health}
        changed += await self._recover(results, now) if results else []
        count_attempts(attempts, recorded)
        _log_all(attempts, recorded)
        for before, after in changed:
            await health_events.after_health_change(self._resources, before, after)
        return [bool(following)] * len(attempts)

    async def _record(
        self, tx: Connection, attempts: Sequence[AttemptRecord], now: datetime
    ) -> tuple[set[str], int, Results]:
        """The ids of the deliveries that were recorded, how many others are due by that, and the
        results that change a subscriber's health."""
        recorded, following, unhealthy = await record_store.record_attempts(tx, attempts, now)
        ours = [attempt for attempt in attempts if attempt.delivery.id in recorded]
        return recorded, following, self._results(ours, unhealthy)

    async def _recover(self, results: Results, now: datetime) -> Changes:
        """Apply successes that are recorded already. What is not written of them now, the next
        success will tell as well."""
        try:
            async with self._resources.database.transaction() as tx:
                health = await health_store.lock_health(tx, list(results))
                return await self._change_health(tx, health, results, now)
        except Unavailable as error:
            fields = {"subscribers": list(results), "error": repr(error.__cause__)}
            log.warning("subscriber_health", action="health_events_deferred", **fields)
            return []

    def _results(self, attempts: Sequence[AttemptRecord], unhealthy: set[str]) -> Results:
        """The results that change a subscriber's health. A subscriber that is not among the
        `unhealthy`, and has successes only, has none."""
        results: Results = {}
        for attempt in attempts:
            subscriber_id, result = attempt.delivery.subscriber_id, attempt.result
            if result is None:
                continue
            if result.succeeded:
                self.throughput.count(subscriber_id, result.at)
            results.setdefault(subscriber_id, []).append((attempt.delivery, result))
        return {
            subscriber_id: found
            for subscriber_id, found in results.items()
            if subscriber_id in unhealthy or not all(result.succeeded for _, result in found)
        }

    async def _change_health(
        self,
        tx: Connection,
        health: Mapping[str, SubscriberHealth],
        results: Results,
        now: datetime,
    ) -> Changes:
        """Apply these results to this health, by subscriber id, which the caller has locked, and
        write what they change; that health before and after."""
        random = self._resources.random()
        changed = []
        for subscriber_id, before in health.items():
            if subscriber_id not in results:
                continue
            deliveries, found = zip(*results[subscriber_id], strict=True)
            thresholds = NEVER if deliveries[0].shared else self._thresholds
            throughput = self.throughput.rate(subscriber_id, now)
            after = apply_results(before, found, throughput, thresholds, random)
            if after != before:
                changed.append((before, after))
        if changed:
            await health_store.write(tx, [after for _, after in changed])
            await work.notify(tx, Work.DELIVER)  # what waited for them may be due for any worker
        return changed


def _failing(attempts: Sequence[AttemptRecord]) -> list[str]:
    """The ids of the subscribers of which any of these attempts says that they are not fine."""
    failed = (attempt for attempt in attempts if attempt.result and not attempt.result.succeeded)
    return list({attempt.delivery.subscriber_id for attempt in failed})


def _log_all(attempts: Sequence[AttemptRecord], recorded: set[str]) -> None:
    """Log each attempt; where many were recorded together, those that delivered on one line."""
    delivered = [
        attempt
        for attempt in attempts
        if attempt.state is DeliveryState.DELIVERED and attempt.delivery.id in recorded
    ]
    if len(delivered) <= MAX_LOGGED:
        delivered = []
    else:
        log.info(
            "delivery",
            action="deliveries_attempted",
            deliveries=[attempt.delivery.id for attempt in delivered],
            latency_ms=max(attempt.latency_ms for attempt in delivered),
            state=DeliveryState.DELIVERED,
        )
    together = {attempt.delivery.id for attempt in delivered}
    for attempt in attempts:
        if attempt.delivery.id not in together:
            _log(attempt, fenced=attempt.delivery.id not in recorded)


def _host(delivery: DueDelivery) -> str | None:
    """The host that it goes to, as the rest of a URL may be a secret; None if it is not known."""
    url = delivery.url or (delivery.settings and delivery.settings.url)
    return urlsplit(url).hostname if url else None


def _log(attempt: AttemptRecord, *, fenced: bool) -> None:
    delivery = attempt.delivery
    log.info(
        "delivery",
        action="delivery_attempted",
        delivery=delivery.id,
        event_id=delivery.event_id,
        type=delivery.type,
        subject=delivery.subject_id,
        sequence=delivery.sequence,
        subscriber=delivery.subscriber_id,
        host=_host(delivery),
        attempt=delivery.attempts + 1,
        status=attempt.status,
        latency_ms=attempt.latency_ms,
        error=attempt.error,
        state=attempt.state,
        next_at=attempt.due_at and attempt.due_at.isoformat(),
        fenced=fenced,
    )
