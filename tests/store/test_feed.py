"""The account's feed: nothing skipped, nothing repeated, whoever commits when."""

from contextlib import AsyncExitStack

import pytest

from service.core.events import event_of
from service.core.subjects import Subject
from service.steps import keys, reading
from service.steps.resources import Resources
from service.store import accounts, events, subjects
from service.store.database import Transaction
from service.store.events import Kept, New, Position
from tests.make import a_subject

START = Position(0, 0)


async def write(tx: Transaction, resources: Resources, account_id: str) -> Subject:
    """A subject and its event, not committed yet."""
    subject = a_subject(id=resources.new_id("sub"), account_id=account_id)
    assert await subjects.add(tx, subject, [])
    await events.append(tx, [New(event_of(subject), resources.new_id("dlv"))])
    return subject


async def write_and_commit(resources: Resources, account_id: str) -> Subject:
    async with resources.database.transaction() as tx:
        return await write(tx, resources, account_id)


async def read_on(
    resources: Resources, account_id: str, seen: list[Kept], limit: int = 100
) -> None:
    """Add to `seen` what comes after it."""
    after = seen[-1].place if seen else START
    seen += await reading.feed(resources, account_id, after, limit)


def subjects_of(seen: list[Kept]) -> list[str]:
    return [event.id.removeprefix("evt_").removesuffix("_1") for event in seen]


def names(*made: Subject) -> list[str]:
    return [subject.id.removeprefix("sub_") for subject in made]


async def test_what_commits_late_is_neither_skipped_nor_overtaken(
    resources: Resources, account: str
) -> None:
    seen: list[Kept] = []
    first = await write_and_commit(resources, account)
    async with resources.database.transaction() as tx:
        late = await write(tx, resources, account)
        early = [await write_and_commit(resources, account) for _ in range(3)]
        await read_on(resources, account, seen)
        assert subjects_of(seen) == names(first), "nothing from beside the open transaction"
    await read_on(resources, account, seen)
    assert subjects_of(seen) == names(first, late, *early)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
async def test_each_event_is_read_once_in_whatever_order_its_writers_commit(
    resources: Resources, account: str, order: tuple[int, ...]
) -> None:
    seen: list[Kept] = []
    made: list[Subject] = []
    stacks = [AsyncExitStack() for _ in order]
    for stack in stacks:
        tx = await stack.enter_async_context(resources.database.transaction())
        made.append(await write(tx, resources, account))
    for place in order:
        await stacks[place].aclose()
        await read_on(resources, account, seen, limit=2)
    await read_on(resources, account, seen)
    assert subjects_of(seen) == names(*made)


async def test_pages_of_any_size_join_without_a_seam(resources: Resources, account: str) -> None:
    made = []
    async with resources.database.transaction() as tx:  # several events of one transaction
        made += [await write(tx, resources, account) for _ in range(5)]
    made += [await write_and_commit(resources, account) for _ in range(4)]
    for size in (1, 2, 3, 9):
        seen: list[Kept] = []
        for _ in range(len(made)):
            await read_on(resources, account, seen, limit=size)
        assert subjects_of(seen) == names(*made)


async def test_another_accounts_events_never_appear(resources: Resources, account: str) -> None:
    await keys.create(resources, "other", keys.SCOPES)
    async with resources.database.transaction() as tx:
        other = await accounts.by_name(tx, "other")
    assert other is not None
    mine = await write_and_commit(resources, account)
    theirs = await write_and_commit(resources, other)
    seen: list[Kept] = []
    await read_on(resources, account, seen)
    assert subjects_of(seen) == names(mine)
    beside: list[Kept] = []
    await read_on(resources, other, beside)
    assert subjects_of(beside) == names(theirs)
