"""Reading the delivery log: one transaction each, and never another account's deliveries."""

from service.delivery.store import delivery_log as delivery_log_store
from service.delivery.store.delivery_log import DeliveryFilter, DeliveryView
from service.kit.database.bounded_scan import ListPosition
from service.kit.errors import NotFound
from service.resources import Resources
from service.subjects.store import subjects
from service.subscribers.store import subscribers


async def list_of_subscriber(
    resources: Resources,
    account_id: str,
    subscriber_id: str,
    criteria: DeliveryFilter,
    limit: int,
) -> tuple[list[DeliveryView], ListPosition | None]:
    """At most `limit` deliveries of a subscriber, the newest first, with their attempts, and the
    position that the next page begins after, None at the end. NotFound if the account has no such
    subscriber."""
    async with resources.database.transaction() as tx:
        if await subscribers.get(tx, account_id, subscriber_id) is None:
            raise NotFound
        return await delivery_log_store.page(tx, subscriber_id, criteria, limit)


async def list_of_subject(
    resources: Resources, account_id: str, subject_id: str
) -> list[DeliveryView]:
    """The deliveries of a subject's events, the newest first. NotFound if the account has no such
    subject."""
    async with resources.database.transaction() as tx:
        if await subjects.get(tx, subject_id, account_id) is None:
            raise NotFound
        return await delivery_log_store.by_subject(tx, subject_id)


async def get(resources: Resources, account_id: str, delivery_id: str) -> DeliveryView:
    """A delivery, with its attempts and their response bodies. NotFound if the account has no such
    delivery."""
    async with resources.database.transaction() as tx:
        delivery = await delivery_log_store.get(tx, account_id, delivery_id)
    if delivery is None:
        raise NotFound
    return delivery
