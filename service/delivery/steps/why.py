"""Why deliveries and subscribers wait, by conditions that are read once a second at most."""

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.delivery_why import delivery_why
from service.delivery.domain.subscriber_why import subscriber_why
from service.delivery.store import waiting
from service.delivery.store.delivery_log import DeliveryView
from service.resources import Resources
from service.subjects.domain.why import Why


async def of_delivery(resources: Resources, delivery: DeliveryView) -> Why | None:
    """Why a delivery waits; None if it has ended."""
    if delivery.state is not DeliveryState.PENDING:
        return None
    now, retries = resources.clock(), len(resources.settings.delivery_schedule)
    async with resources.database.autocommit() as tx:
        row = await waiting.delivery(tx, delivery.id, retries, now)
        subscriber = await waiting.subscriber(tx, delivery.subscriber_id, now)
    if row is None or subscriber is None:  # they have been deleted meanwhile
        return None
    conditions = await resources.conditions.current(resources.database, now)
    return delivery_why(row, subscriber, conditions, now)


async def of_subscriber(resources: Resources, subscriber_id: str) -> Why | None:
    """Why a subscriber is sent nothing; None if it is, or would be."""
    now = resources.clock()
    async with resources.database.autocommit() as tx:
        subscriber = await waiting.subscriber(tx, subscriber_id, now)
    if subscriber is None:  # it has been deleted meanwhile
        return None
    conditions = await resources.conditions.current(resources.database, now)
    return subscriber_why(subscriber, conditions, now)
