"""The account's feed: nothing skipped, nothing repeated, whoever commits when."""

from contextlib import AsyncExitStack

import asyncpg
import orjson
import pytest
from sqlalchemy import text

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.accounts.store import api_keys as api_key_store
from service.delivery.store import replay_window
from service.event_feed.domain.places import START, Position
from service.event_feed.store import feed
from service.event_feed.store.feed import FeedUpdate, StoredEvent
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import decide, transition
from service.subjects.store import subjects, transitions
from tests.support.database import executed_statements, query_plan, table_scans
from tests.support.subjects import add_committed_subject, add_subject


async def read_after(
    resources: Resources, account_id: str, after: Position, limit: int
) -> list[StoredEvent]:
    """The events of the feed's page after a position."""
    async with resources.database.autocommit() as tx:
        return (await feed.page(tx, account_id, after, limit)).events


async def read_on(
    resources: Resources, account_id: str, read_events: list[StoredEvent], limit: int = 100
) -> None:
    """Add to `read_events` the events that come after them."""
    after = read_events[-1].position if read_events else START
    read_events += await read_after(resources, account_id, after, limit)


def subjects_of(read_events: list[StoredEvent]) -> list[str]:
    return [event.id.removeprefix("evt_").removesuffix("_1") for event in read_events]


def names(*made: Subject) -> list[str]:
    return [subject.id.removeprefix("sub_") for subject in made]


async def test_what_commits_late_is_neither_skipped_nor_overtaken(
    resources: Resources, account: str
) -> None:
    read_events: list[StoredEvent] = []
    first = await add_committed_subject(resources, account)
    async with resources.database.transaction() as tx:
        late = await add_subject(tx, resources, account)
        early = [await add_committed_subject(resources, account) for _ in range(3)]
        await read_on(resources, account, read_events)
        assert subjects_of(read_events) == names(first), "nothing from beside the open transaction"
    await read_on(resources, account, read_events)
    assert subjects_of(read_events) == names(first, late, *early)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
async def test_each_event_is_read_once_in_whatever_order_its_writers_commit(
    resources: Resources, account: str, order: tuple[int, ...]
) -> None:
    read_events: list[StoredEvent] = []
    made: list[Subject] = []
    stacks = [AsyncExitStack() for _ in order]
    for stack in stacks:
        tx = await stack.enter_async_context(resources.database.transaction())
        made.append(await add_subject(tx, resources, account))
    for place in order:
        await stacks[place].aclose()
        await read_on(resources, account, read_events, limit=2)
    await read_on(resources, account, read_events)
    assert subjects_of(read_events) == names(*made)


async def test_pages_of_any_size_join_without_a_seam(resources: Resources, account: str) -> None:
    made = []
    async with resources.database.transaction() as tx:  # several events of one transaction
        made += [await add_subject(tx, resources, account) for _ in range(5)]
    made += [await add_committed_subject(resources, account) for _ in range(4)]
    for size in (1, 2, 3, 9):
        read_events: list[StoredEvent] = []
        for _ in range(len(made)):
            await read_on(resources, account, read_events, limit=size)
        assert subjects_of(read_events) == names(*made)


async def another(resources: Resources) -> str:
    """The id of another account."""
    await api_keys.create(resources, "other", SCOPES)
    async with resources.database.transaction() as tx:
        other = await api_key_store.account_id_by_name(tx, "other")
    assert other is not None
    return other


async def test_another_accounts_events_never_appear(resources: Resources, account: str) -> None:
    other = await another(resources)
    mine = await add_committed_subject(resources, account)
    theirs = await add_committed_subject(resources, other)
    read_events: list[StoredEvent] = []
    await read_on(resources, account, read_events)
    assert subjects_of(read_events) == names(mine)
    beside: list[StoredEvent] = []
    await read_on(resources, other, beside)
    assert subjects_of(beside) == names(theirs)


async def test_the_updates_of_many_accounts_are_their_feeds(
    resources: Resources, account: str
) -> None:
    other = await another(resources)
    positions: dict[str, Position] = {}
    for account_id in (account, other):
        await add_committed_subject(resources, account_id)
        positions[account_id] = (await read_after(resources, account_id, START, 1))[-1].position
        for _ in range(3):
            await add_committed_subject(resources, account_id)
    async with resources.database.autocommit() as tx:
        found = await feed.updates(tx, [*positions.items(), ("acc_none", START)], 2)
    assert found == {
        account_id: FeedUpdate(await read_after(resources, account_id, position, 2))
        for account_id, position in positions.items()
    }


async def test_updates_say_that_there_is_more_than_they_may_show(
    resources: Resources, account: str
) -> None:
    shown = await add_committed_subject(resources, account)
    async with resources.database.transaction() as tx:
        late = await add_subject(tx, resources, account)
        await add_committed_subject(resources, account)
        async with resources.database.autocommit() as other:
            update = (await feed.updates(other, [(account, START)], 9))[account]
    assert (subjects_of(update.events), update.hidden) == (names(shown), True)
    async with resources.database.autocommit() as tx:
        update = (await feed.updates(tx, [(account, START)], 9))[account]
    assert subjects_of(update.events)[:2] == names(shown, late)
    assert not update.hidden


async def test_now_is_after_all_that_is_shown_and_before_all_that_is_not(
    resources: Resources, account: str
) -> None:
    await add_committed_subject(resources, account)
    async with resources.database.transaction() as tx:
        late = await add_subject(tx, resources, account)
        early = await add_committed_subject(resources, account)
        async with resources.database.autocommit() as other:
            now, _ = await feed.now(other)
    found = await read_after(resources, account, now, 9)
    assert subjects_of(found) == names(late, early)


async def test_news_are_found_by_the_feeds_index_alone(resources: Resources, account: str) -> None:
    with executed_statements() as statements:
        async with resources.database.autocommit() as tx:
            await feed.updates(tx, [(account, START)], 9)
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        found = list(table_scans(await query_plan(connection, statements[-1])))
    finally:
        await connection.close()
    found = [scan for scan in found if scan["Relation Name"] == "events"]
    assert [scan["Index Name"] for scan in found] == ["ix_events_feed"]
    assert all(column in found[0]["Index Cond"] for column in ("account_id", "xid", "position"))


async def test_a_subject_stays_in_sequence_though_an_older_transaction_writes_later(
    resources: Resources, account: str
) -> None:
    """As a batch does that got its place when it locked one subject, and then waited for another
    that somebody else was moving."""
    made = await add_committed_subject(resources, account)
    async with resources.database.transaction() as older:
        await older.execute(text("SELECT pg_current_xact_id()"))
        await transition(resources, made.id, StatusUpdate(Signal.SUBMITTED, provider_task_id="1"))
        subject = await subjects.lock(older, made.id)
        assert subject is not None
        move = decide(resources, subject, StatusUpdate(Signal.PROCESSING))
        await transitions.write(older, [move])
    read_events: list[StoredEvent] = []
    await read_on(resources, account, read_events)
    assert [event.sequence for event in read_events] == [1, 2, 3]


async def test_a_feed_is_read_in_the_order_of_its_index_and_not_sorted(
    resources: Resources, account: str
) -> None:
    """Sorting would need all that an account ever had, for each page."""
    now = resources.clock()
    with executed_statements() as statements:
        await read_after(resources, account, START, 9)
        async with resources.database.transaction() as tx:
            await replay_window.find_window(tx, account, now, now, now)
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        asked = [statement for statement in statements if "FROM events" in statement]
        assert len(asked) == 2
        for statement in asked:
            assert (
                '"Node Type":"Sort"'
                not in orjson.dumps(await query_plan(connection, statement)).decode()
            )
    finally:
        await connection.close()
