"""What attempts came to: kept in batches, and folded into the lanes of their subscribers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from service.core.lanes import OVERBURDENED, Lane, Patience, Result, fold
from service.core.retries import next_delivery, retry_after_seconds
from service.queue import Work
from service.remote.attempts import Answered, Attempt, Failed, Published
from service.steps import aftermath
from service.steps.pace import Pace
from service.steps.resources import Resources
from service.store import deliveries, lanes, subjects
from service.store.claims import Due
from service.store.database import Direct
from service.store.deliveries import Ended, Recorded

log = structlog.get_logger()

SUCCESS = range(200, 300)  # RFC 9110, section 15.3
GONE = 410  # Standard Webhooks, "Operational considerations": the subscriber wants no more
SLOW_DOWN = frozenset({429, 503})  # whose Retry-After is honoured: Standard Webhooks
FOREVER = Patience(float("inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing was sent: the subscriber's secrets cannot be opened, as `detail` says in words.

    A failure of ours, so it says nothing of the subscriber.
    """

    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """An attempt at a claimed delivery, and when it was begun and ended. `shared`: its subscriber
    stands for many callback_urls, of which none speaks for the others."""

    due: Due
    token: str
    attempt: Attempt | NotSent
    begun: datetime
    ended: datetime
    schedule: tuple[float, ...]
    shared: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt comes to: the delivery's next state, when it is due again, and what it says
    of the subscriber, if anything."""

    state: str
    due_at: datetime | None
    result: Result | None


def judge(done: Done, dice: float) -> Verdict:
    """Success ends a delivery, and so do 410 and the end of its schedule; else it is tried anew."""
    at, attempt = done.ended, done.attempt
    well = Result(well=True, at=at)
    match attempt:
        case Answered(status=status) if status in SUCCESS:
            return Verdict("delivered", None, well)
        case Answered(status=status) if status == GONE:
            gone = Result(well=False, at=at, gone=True)
            return Verdict("dead", None, well if done.shared else gone)
        case Answered(status=status, retry_after=asked):
            wait = retry_after_seconds(asked, at) if status in SLOW_DOWN else None
            burdened = status in OVERBURDENED
            return _again(done, dice, Result(False, at, burdened, wait))  # noqa: FBT003 - not well
        case Published():
            return Verdict("delivered", None, well)
        case Failed(reason=reason):
            burdened = reason == "timeout"
            return _again(done, dice, Result(well=False, at=at, overburdened=burdened))
        case NotSent():
            return _again(done, dice, None)
        case _:
            assert_never(attempt)


def _again(done: Done, dice: float, result: Result | None) -> Verdict:
    made = done.due.attempts - done.due.attempts_before + 1
    asked = None if result is None else result.retry_after
    delay = next_delivery(done.schedule, made, dice, asked)
    if delay is None:
        return Verdict("dead", None, result)
    return Verdict("pending", done.ended + timedelta(seconds=delay), result)


def _kept(done: Done, state: str) -> Recorded:
    at, delivered = done.begun, state == "delivered"
    match done.attempt:
        case Answered(status=status, body=body, latency=latency):
            error = None if delivered else f"status {status}"
            return Recorded(at, status, _milliseconds(latency), error, body, delivered)
        case Published(receipt=receipt, latency=latency):
            return Recorded(at, None, _milliseconds(latency), None, receipt, delivered)
        case Failed(reason=reason, detail=detail, latency=latency):
            error = f"{reason}: {detail}"
            return Recorded(at, None, _milliseconds(latency), error, b"", delivered)
        case NotSent(detail=detail):
            return Recorded(at, None, 0.0, f"secret: {detail}", b"", delivered)
        case _:
            assert_never(done.attempt)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


class Recorder:
    """Writes attempts; knows how fast each subscriber has answered this process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.pace = Pace()
        settings = resources.settings
        self._patience = Patience(settings.failing_after, settings.disable_after)

    async def write(self, done: Sequence[Done]) -> list[None]:
        """All in one transaction. What was not ours any more is only logged."""
        resources = self._resources
        now = resources.clock()
        verdicts = [judge(one, resources.dice()) for one in done]
        ended = [
            Ended(one.due.id, one.token, _kept(one, verdict.state), verdict.state, verdict.due_at)
            for one, verdict in zip(done, verdicts, strict=True)
        ]
        changed: list[tuple[Lane, Lane]] = []
        async with resources.database.direct() as tx:
            await subjects.hold_still(tx, sorted({one.due.subject_id for one in done}))
            ours, following, unwell = await deliveries.record(tx, ended, now)
            results = self._results(done, verdicts, ours, unwell)
            if results:
                changed = await self._fold(tx, results, now)
        for one, verdict, kept in zip(done, verdicts, ended, strict=True):
            _announce(one, verdict, kept.attempt, ours=one.due.id in ours)
        for before, after in changed:
            await aftermath.see_to(resources, before, after)
        if following or changed:
            resources.queue.wake(Work.DELIVER, done[0].due.subject_id)
        return [None] * len(done)

    def _results(
        self, done: Sequence[Done], verdicts: Sequence[Verdict], ours: set[str], unwell: set[str]
    ) -> dict[str, list[tuple[Done, Result]]]:
        """By subscriber, what its lane must hear: nothing, where all went well, and the lane is not
        one of the `unwell`."""
        results: dict[str, list[tuple[Done, Result]]] = {}
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
        self, tx: Direct, results: dict[str, list[tuple[Done, Result]]], now: datetime
    ) -> list[tuple[Lane, Lane]]:
        """Write the lanes that these results change: as they were, and as they are."""
        dice = self._resources.dice()
        changed = []
        for subscriber_id, before in (await lanes.hold(tx, list(results))).items():
            found = results[subscriber_id]
            patience = FOREVER if found[0][0].shared else self._patience
            pace = self.pace.of(subscriber_id, now)
            after = fold(before, [result for _, result in found], pace, patience, dice)
            if after != before:
                changed.append((before, after))
        if changed:
            await lanes.write(tx, [after for _, after in changed])
        return changed


def _announce(done: Done, verdict: Verdict, kept: Recorded, *, ours: bool) -> None:
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
