"""Why deliveries and subscribers wait, by conditions that are read once a second at most."""

from collections.abc import Sequence

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
        found = await waiting.subscribers(tx, [delivery.subscriber_id], now)
    subscriber = found.get(delivery.subscriber_id)
    if row is None or subscriber is None:  # they have been deleted meanwhile
        return None
    conditions = await resources.conditions.current(resources.database, now)
    return delivery_why(row, subscriber, conditions, now)


async def of_subscribers(
    resources: Resources, subscriber_ids: Sequence[str]
) -> dict[str, Why | None]:
    """Why each of these subscribers is sent nothing; None for one that is, or would be."""
    if not subscriber_ids:
        return {}
    now = resources.clock()
    async with resources.database.autocommit() as tx:
        found = await waiting.subscribers(tx, subscriber_ids, now)
    conditions = await resources.conditions.current(resources.database, now)
    return {id_: subscriber_why(one, conditions, now) for id_, one in found.items()}
