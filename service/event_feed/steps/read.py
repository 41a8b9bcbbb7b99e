"""Pages of an event feed, and where a stream of it begins."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.event_feed.domain.places import Place, Position, place_after
from service.event_feed.steps.feed_reader import refuse_gap
from service.event_feed.store import feed as feed_store
from service.event_feed.store.feed import Page, StoredEvent
from service.kit.database.connection import Connection
from service.kit.errors import NotFound
from service.resources import Resources


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page of events, and where its reader is then."""

    events: Sequence[StoredEvent]
    place: Place


async def page(
    resources: Resources, account_id: str | None, subject_id: str | None, place: Place, limit: int
) -> ReadPage:
    """The next events after a place, oldest first: of an account, of one of its subjects (NotFound
    if it has no such subject), or without an account of every account. FeedGapError if the reader
    may miss events without knowing."""
    async with resources.database.autocommit() as tx:
        found = await next_page(tx, account_id, subject_id, place.position, limit)
    refuse_gap(place, found.horizon)
    last = found.events[-1].position if found.events else place.position
    return ReadPage(found.events, place_after(last, found.horizon, at_end=not found.full))


async def opening(
    resources: Resources, account_id: str | None, subject_id: str | None, place: Place
) -> Place:
    """The place at which a stream opens that is to go on from this one; errors as of a page."""
    async with resources.database.autocommit() as tx:
        if subject_id is None:
            horizon = await feed_store.horizon(tx, account_id)
        else:
            horizon = (await next_page(tx, account_id, subject_id, place.position, 0)).horizon
    refuse_gap(place, horizon)
    return place_after(place.position, horizon, at_end=False)


async def next_page(
    tx: Connection, account_id: str | None, subject_id: str | None, after: Position, limit: int
) -> Page:
    """The next events after a position, whatever the reader may have missed: see page()."""
    if account_id is None or subject_id is None:
        return await feed_store.page(tx, account_id, after, limit)
    found = await feed_store.subject_page(tx, account_id, subject_id, after, limit)
    if found is None:
        raise NotFound
    return found
