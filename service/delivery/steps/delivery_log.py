"""The delivery log, as callers read it: one transaction each, and never another account's."""

from service.delivery.store import delivery_log
from service.delivery.store.delivery_log import DeliveryFilter, DeliveryView
from service.kit.database.bounded_scan import ListPosition
from service.kit.errors import NotFound
from service.resources import Resources
from service.subjects.store import subjects
from service.subscribers.store import subscribers


async def of_subscriber(
    resources: Resources,
    account_id: str,
    subscriber_id: str,
    wanted: DeliveryFilter,
    limit: int,
) -> tuple[list[DeliveryView], ListPosition | None]:
    """A subscriber's deliveries, the newest first, with their attempts, and where the next page
    begins; NotFound if the account has no such subscriber."""
    async with resources.database.transaction() as tx:
        if await subscribers.get(tx, account_id, subscriber_id) is None:
            raise NotFound
        return await delivery_log.page(tx, subscriber_id, wanted, limit)


async def get(resources: Resources, account_id: str, delivery_id: str) -> DeliveryView:
    """A delivery with its attempts; NotFound if this account has no such delivery."""
    async with resources.database.transaction() as tx:
        found = await delivery_log.get(tx, account_id, delivery_id)
    if found is None:
        raise NotFound
    return found


async def of_subject(resources: Resources, account_id: str, subject_id: str) -> list[DeliveryView]:
    """The deliveries of a subject's events, the newest first; NotFound if this account has no such
    subject."""
    async with resources.database.transaction() as tx:
        if await subjects.get(tx, subject_id, account_id) is None:
            raise NotFound
        return await delivery_log.by_subject(tx, subject_id)
