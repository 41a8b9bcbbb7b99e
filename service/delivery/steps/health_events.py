"""What follows a change of a subscriber's health: its account is notified, the subscriber is
disabled, and retries are made due when the circuit breaker closes.

None of it is done inside the transaction that records attempts, which others wait for. A notice is
stored with the health until it is written as an event; the sweep finds those that were left.
"""

import structlog

from service.delivery.domain.subscriber_health import SubscriberHealth, circuit_closed
from service.delivery.store import record as record_store
from service.delivery.store import subscriber_health as health_store
from service.kit.concurrency.for_each import for_each
from service.kit.errors import Unavailable
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from service.subjects.domain.event import HealthNotice, subscriber_event
from service.subjects.domain.work import Work
from service.subjects.store import events, work
from service.subjects.store.events import NewEvent

log = structlog.get_logger()

CHUNK = 1000  # deliveries of one transaction, and subscribers of one sweep


async def after_health_change(
    resources: Resources, before: SubscriberHealth, after: SubscriberHealth
) -> None:
    """Log a change of health, and do what follows from it. It never raises: the attempts are
    recorded, and the sweep does what was left undone."""
    limits_before = before.circuit_open_until, before.current_rate
    if (after.circuit_open_until, after.current_rate) != limits_before:
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
            await _make_retries_due(resources, after.subscriber_id)
        if after.status is not before.status:
            await _notify(resources, after.subscriber_id)
    except Unavailable as error:
        fields = {"subscriber": after.subscriber_id, "error": repr(error.__cause__)}
        log.warning("subscriber_health", action="health_events_deferred", **fields)
    except Exception:
        log.exception("subscriber_health", action="fault", subscriber=after.subscriber_id)


async def sweep(resources: Resources) -> None:
    """Write the notices that are still due to accounts, and cancel what waits for disabled
    subscribers."""
    async with resources.database.autocommit() as tx:
        pending = await health_store.pending_notices(tx, resources.home.fence, CHUNK)
    await for_each(pending, lambda subscriber_id: _notify(resources, subscriber_id))
    await _cancel(resources)


async def _make_retries_due(resources: Resources, subscriber_id: str) -> None:
    now, made_due = resources.clock(), CHUNK
    while made_due == CHUNK:
        async with resources.database.transaction() as tx:
            made_due = await record_store.make_retries_due(tx, subscriber_id, now, CHUNK)
            if made_due:
                await work.notify(tx, Work.DELIVER)


async def _notify(resources: Resources, subscriber_id: str) -> None:
    """Notify the account by an event, for its feed and its other subscribers. A subscriber that is
    to be disabled is disabled first, in a transaction of its own: an event locks all of an
    account's subscribers."""
    async with resources.database.transaction() as tx:
        notice = await health_store.pending_notice(tx, subscriber_id)
        if notice is not None and notice.status is HealthNotice.DISABLED:
            now = resources.clock()
            await health_store.disable(tx, subscriber_id, notice.reason, now)
    if notice is not None and notice.status is HealthNotice.DISABLED:
        await _cancel(resources)
    async with resources.database.transaction() as tx:
        notice = await health_store.pending_notice(tx, subscriber_id)
        if notice is None:
            return
        about = (notice.account_id, subscriber_id, notice.sequence)
        event = subscriber_event(*about, notice.status, resources.clock(), reason=notice.reason)
        await events.append(tx, [NewEvent(event)])
        await health_store.mark_notified(tx, subscriber_id)
    fields = {"subscriber": subscriber_id, "reason": notice.reason}
    log.warning("subscriber_health", action=f"subscriber_{notice.status}", **fields)


async def _cancel(resources: Resources) -> None:
    canceled, fence = CHUNK, resources.home.fence
    while canceled == CHUNK:
        async with resources.database.transaction() as tx:
            canceled = await record_store.cancel_waiting(tx, fence, resources.clock(), CHUNK)
