"""Reads subjects for callers: one, several, a page of a list, and their positions in the queue."""

from collections.abc import Sequence

from service.kit.database.bounded_scan import ListPosition
from service.kit.errors import NotFound
from service.resources import Resources
from service.status.store import queue_positions as queue_position_store
from service.status.store import subject_lists
from service.status.store.subject_lists import SubjectFilter
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject, SubjectView, WaitingView
from service.subjects.store import subjects as subject_store

MAX_POSITION = 10_000  # in the queue; it stands for all positions from there on. Our own figure


async def get_subject(resources: Resources, account_id: str, subject_id: str) -> Subject:
    """A subject of an account; NotFound if this account has no such subject."""
    async with resources.database.autocommit() as tx:
        subject = await subject_store.get(tx, subject_id, account_id)
    if subject is None:
        raise NotFound
    return subject


async def get_subjects(
    resources: Resources, ids: Sequence[tuple[str, str]]
) -> list[WaitingView | None]:
    """The subject of each pair of account id and subject id; None if that account has no such
    subject."""
    async with resources.database.autocommit() as tx:
        return await subject_store.views(tx, ids)


async def queue_positions(
    resources: Resources, subjects: Sequence[SubjectView]
) -> list[int | None]:
    """The position of each subject in its account's queue: 1 is next, MAX_POSITION is the highest.
    None for a subject that is not queued."""
    queued = [subject for subject in subjects if subject.state is State.QUEUED]
    if not queued:
        return [None] * len(subjects)
    async with resources.database.autocommit() as tx:
        positions = await queue_position_store.positions(tx, queued, MAX_POSITION)
    return [positions.get(subject.id) for subject in subjects]


async def subjects_page(
    resources: Resources, account_id: str | None, criteria: SubjectFilter, limit: int
) -> tuple[list[WaitingView], ListPosition | None]:
    """A page of an account's subjects, newest first, and where the next page begins (None: this is
    the last). Without an account: of every account's subjects."""
    async with resources.database.autocommit() as tx:
        return await subject_lists.page(tx, account_id, criteria, limit)
