"""Pages of an event feed."""

from service.event_feed.store import feed as feed_store
from service.event_feed.store.feed import Position, StoredEvent
from service.kit.errors import NotFound
from service.resources import Resources
from service.subjects.store import subjects


async def subject_events(
    resources: Resources, account_id: str, subject_id: str, after: Position, limit: int
) -> list[StoredEvent]:
    """The next events of a subject after a position, in sequence; NotFound if this account has no
    such subject."""
    async with resources.database.transaction() as tx:
        if await subjects.get(tx, subject_id, account_id) is None:
            raise NotFound
        return await feed_store.of_subject(tx, subject_id, after, limit)


async def feed(
    resources: Resources, account_id: str | None, after: Position, limit: int
) -> list[StoredEvent]:
    """The next events of an account after a position, oldest first; without an account, those of
    every account."""
    async with resources.database.autocommit() as tx:
        return await feed_store.feed(tx, account_id, after, limit)
