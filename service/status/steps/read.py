"""Reading for callers: one transaction each, and never another account's, but of every account's
where that is asked for."""

from collections.abc import Sequence

from service.kit.database.bounded_scan import ListPosition
from service.kit.errors import NotFound
from service.resources import Resources
from service.status.store import queue_places, subject_lists
from service.status.store.subject_lists import SubjectFilter
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject
from service.subjects.store import subjects

MOST_BEFORE = 9_999  # subjects that are counted for a place in the queue; ours


async def subject(resources: Resources, account_id: str, subject_id: str) -> Subject:
    """NotFound if this account has no such subject."""
    async with resources.database.autocommit() as tx:
        found = await subjects.get(tx, subject_id, account_id)
    if found is None:
        raise NotFound
    return found


async def subjects_of(
    resources: Resources, wanted: Sequence[tuple[str, str]]
) -> list[Subject | None]:
    """Those of which account and id are given, as far as the account has them."""
    async with resources.database.autocommit() as tx:
        return await subjects.by_account_and_id(tx, wanted)


async def positions(resources: Resources, asked: Sequence[Subject]) -> list[int | None]:
    """The place of each in its account's queue: 1 is next, MOST_BEFORE + 1 stands for all from
    there on. None for one that is not queued."""
    queued = [subject for subject in asked if subject.state is State.QUEUED]
    if not queued:
        return [None] * len(asked)
    async with resources.database.autocommit() as tx:
        found = await queue_places.before(tx, queued, MOST_BEFORE)
    return [found[one.id] + 1 if one.id in found else None for one in asked]


async def subjects_page(
    resources: Resources, account_id: str | None, wanted: SubjectFilter, limit: int
) -> tuple[list[Subject], ListPosition | None]:
    """An account's, or every account's, the newest first, and where the next page begins."""
    async with resources.database.autocommit() as tx:
        return await subject_lists.page(tx, account_id, wanted, limit)
