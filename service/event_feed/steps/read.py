"""Reading for callers: one transaction each, and never another account's, but of every account's
where that is asked for."""

from service.event_feed.store import feed as store_feed
from service.event_feed.store.feed import Position, StoredEvent
from service.kit.errors import NotFound
from service.resources import Resources
from service.subjects.store import subjects


async def subject_events(
    resources: Resources, account_id: str, subject_id: str, after: Position, limit: int
) -> list[StoredEvent]:
    """A subject's events after a place; NotFound if this account has no such subject."""
    async with resources.database.transaction() as tx:
        if await subjects.get(tx, subject_id, account_id) is None:
            raise NotFound
        return await store_feed.of_subject(tx, subject_id, after, limit)


async def feed(
    resources: Resources, account_id: str | None, after: Position, limit: int
) -> list[StoredEvent]:
    """An account's events after a place, or every account's, oldest first."""
    async with resources.database.autocommit() as tx:
        return await store_feed.feed(tx, account_id, after, limit)
