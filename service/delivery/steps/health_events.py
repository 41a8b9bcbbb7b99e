"""What follows once a subscriber's health has changed: its account is told, the subscriber is
disabled, and what waits for a later try is made due.

None of it is done inside the transaction that records attempts, which others wait for. What is to
be told is stored with the health until it is, so the sweep tells it if nobody lived to.
"""

import structlog

from service.delivery.domain.subscriber_health import SubscriberHealth, circuit_closed
from service.delivery.store import record, subscriber_health
from service.job_queue import Work
from service.kit.concurrency.for_each import for_each
from service.kit.errors import Unavailable
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from service.subjects.domain.event import HealthNotice, subscriber_event
from service.subjects.store import events
from service.subjects.store.events import NewEvent

log = structlog.get_logger()

CHUNK = 1000  # deliveries, or subscribers, that one transaction sees to


async def after_health_change(
    resources: Resources, before: SubscriberHealth, after: SubscriberHealth
) -> None:
    """Log the change and do what follows from it. It never raises: the attempt is recorded, and
    what is not told now is told by the sweep."""
    if (
        after.circuit_open_until != before.circuit_open_until
        or after.current_rate != before.current_rate
    ):
        log.info(
            "subscriber_health",
            action="subscriber_health_changed",
            subscriber=after.subscriber_id,
            failures=after.failures,
            rate=after.current_rate,
            circuit_open_until=format_rfc3339(after.circuit_open_until),
        )
    try:
        if circuit_closed(before, after):
            await _make_due(resources, after.subscriber_id)
        if after.status is not before.status:
            await _notify(resources, after.subscriber_id)
    except Unavailable as error:
        fields = {"subscriber": after.subscriber_id, "error": repr(error.__cause__)}
        log.warning("subscriber_health", action="health_events_put_off", **fields)
    except Exception:
        log.exception("subscriber_health", action="fault", subscriber=after.subscriber_id)


async def sweep(resources: Resources) -> None:
    """Tell what has not been told; nothing that waits for a disabled subscriber is sent."""
    async with resources.database.autocommit() as tx:
        pending = await subscriber_health.pending_notices(tx, CHUNK)
    await for_each(pending, lambda subscriber_id: _notify(resources, subscriber_id))
    await _cancel(resources)


async def _make_due(resources: Resources, subscriber_id: str) -> None:
    now, made_due = resources.clock(), CHUNK
    while made_due == CHUNK:
        async with resources.database.transaction() as tx:
            made_due = await record.make_due_now(tx, subscriber_id, now, CHUNK)


async def _notify(resources: Resources, subscriber_id: str) -> None:
    """Tell the account, by an event for its other subscribers and its feed. A subscriber that is to
    be disabled is so first, by itself: an event locks all of an account's subscribers."""
    async with resources.database.transaction() as tx:
        notice = await subscriber_health.pending_notice(tx, subscriber_id)
        if notice is not None and notice.status is HealthNotice.DISABLED:
            await subscriber_health.disable(tx, subscriber_id, notice.reason)
    if notice is not None and notice.status is HealthNotice.DISABLED:
        await _cancel(resources)
    now = resources.clock()
    async with resources.database.transaction() as tx:
        notice = await subscriber_health.pending_notice(tx, subscriber_id)
        if notice is None:
            return
        about = (notice.account_id, subscriber_id, notice.sequence, notice.status, now)
        event = subscriber_event(*about, reason=notice.reason)
        await events.append(tx, [NewEvent(event, resources.new_id("dlv"))])
        await subscriber_health.mark_notified(tx, subscriber_id)
    fields = {"subscriber": subscriber_id, "reason": notice.reason}
    log.warning("subscriber_health", action=f"subscriber_{notice.status}", **fields)
    resources.worker_notifier.wake(Work.DELIVER)


async def _cancel(resources: Resources) -> None:
    canceled = CHUNK
    while canceled == CHUNK:
        async with resources.database.transaction() as tx:
            canceled = await record.cancel_waiting(tx, resources.clock(), CHUNK)
