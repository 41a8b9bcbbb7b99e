"""The hub: whatever wakes it, and whatever does not, each who follows hears of each event once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from structlog.typing import EventDict

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.event_feed.domain.places import START, Position
from service.event_feed.steps import event_hub, feed_reader
from service.event_feed.steps.event_hub import EventHub
from service.event_feed.steps.feed_reader import BatchWaiter, FeedReader
from service.kit.errors import Unavailable
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.domain.subject import Subject
from service.subjects.store import events
from service.subjects.store.events import NewEvent
from tests.support.database import executed_statements, fetch
from tests.support.subjects import add_committed_subject
from tests.support.waiting import wait_until

OPEN = text("SELECT pg_current_xact_id()")  # what begins later is not shown before this has ended
FAR = 600.0  # seconds; longer than any test
BEYOND = Position(10**17, 1)


@pytest.fixture
async def hub(resources: Resources) -> AsyncIterator[EventHub]:
    async with EventHub(resources) as hub:
        yield hub


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """No notice is received."""
    monkeypatch.setattr(event_hub, "NOTIFY_CHANNEL", "another_channel")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is queried that no notice named."""
    monkeypatch.setattr(event_hub, "READ_INTERVAL", FAR)


async def waiting(
    hub: EventHub, account: str, subject: str | None = None
) -> asyncio.Task[list[str]]:
    """A task that ends with what comes first after now, once it waits for it."""
    after = START if subject else (await hub.now())[0]
    waiter = BatchWaiter(account, subject, after)

    async def first() -> list[str]:
        return [event.id for event in await hub.wait(waiter, FAR)]

    task = asyncio.create_task(first())

    async def joined() -> bool:
        return waiter in set(hub.readers())

    await wait_until(joined)
    return task


def ids(*made: Subject) -> list[str]:
    return [subject_event(subject).id for subject in made]


@pytest.mark.usefixtures("deaf")
async def test_without_notices_a_look_each_second_finds_what_is_new(
    hub: EventHub, resources: Resources, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "READ_INTERVAL", 0.02)
    task = await waiting(hub, account)
    made = await add_committed_subject(resources, account)
    assert await task == ids(made)


@pytest.mark.usefixtures("patient")
async def test_a_notice_wakes_it(hub: EventHub, resources: Resources, account: str) -> None:
    task = await waiting(hub, account)
    made = await add_committed_subject(resources, account)
    assert await task == ids(made)


@pytest.mark.usefixtures("patient", "deaf")
@pytest.mark.parametrize("payload", ["{account}", "acc_other,{account}", ""])
async def test_a_notice_names_accounts_or_means_all(
    hub: EventHub, resources: Resources, account: str, payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "NOTIFY_CHANNEL", "this_channel")
    task = await waiting(hub, account)
    made = await add_committed_subject(resources, account)
    said = payload.format(account=account)
    await fetch(resources, "SELECT pg_notify('this_channel', $1)", said)
    assert await task == ids(made)


@pytest.mark.usefixtures("patient")
async def test_what_may_not_be_shown_yet_is_looked_for_again_without_a_notice(
    hub: EventHub, resources: Resources, account: str
) -> None:
    """The open transaction writes no event, so its end tells nobody anything."""
    task = await waiting(hub, account)
    with executed_statements() as statements:
        async with resources.database.transaction() as tx:
            await tx.execute(OPEN)
            made = await add_committed_subject(resources, account)

            async def has_queried() -> bool:
                return len([statement for statement in statements if "LATERAL" in statement]) > 1

            await wait_until(has_queried)
            assert not task.done()
    assert await task == ids(made)


async def test_an_account_that_nobody_follows_is_not_asked_for(
    hub: EventHub, resources: Resources, account: str
) -> None:
    await api_keys.create(resources, "other", SCOPES)
    (other,) = await fetch(resources, "SELECT id FROM accounts WHERE name = 'other'")
    task = await waiting(hub, account)
    with executed_statements() as statements:
        await add_committed_subject(resources, other["id"])
        made = await add_committed_subject(resources, account)
        assert await task == ids(made)
        await add_committed_subject(resources, account)
    assert all(other["id"] not in statement for statement in statements)
    assert list(hub.readers()) == []


async def test_a_subject_is_followed_in_sequence_whichever_transaction_began_first(
    hub: EventHub,
    resources: Resources,
    account: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch locks several subjects, so the transaction that writes last may have begun first."""
    monkeypatch.setattr(event_hub, "PAGE", 1)
    monkeypatch.setattr(feed_reader, "PAGE", 1)
    subject = await add_committed_subject(resources, account)
    follower = FeedReader(account, subject.id, Position(0, 1))
    await hub.join(follower)
    assert await follower.next_batch() is None
    async with resources.database.transaction() as first:
        await first.execute(OPEN)
        async with resources.database.transaction() as second:
            await events.append(second, [moved(subject, 2)])
        await events.append(first, [moved(subject, 3)])
    sequences: list[int] = []

    async def all_received() -> bool:
        while (batch := await follower.next_batch()) is not None:
            sequences.extend(event.sequence for event in batch.events)
        return len(sequences) >= 2

    await wait_until(all_received)
    assert sequences == [2, 3]
    hub.leave(follower)


def moved(subject: Subject, version: int) -> NewEvent:
    return NewEvent(subject_event(replace(subject, version=version)))


async def test_what_is_committed_while_the_history_is_read_is_neither_lost_nor_repeated(
    hub: EventHub, resources: Resources, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of a reader that catches up, a new event is committed."""
    monkeypatch.setattr(feed_reader, "PAGE", 3)
    made = [await add_committed_subject(resources, account) for _ in range(5)]
    beside, follower = FeedReader(account, None, BEYOND), FeedReader(account, None, START)
    await hub.join(beside)
    await hub.join(follower)
    received_ids: list[str] = []
    while len(received_ids) < 20:
        if len(made) < 20:
            made.append(await add_committed_subject(resources, account))
        if batch := await follower.next_batch():
            received_ids += [event.id for event in batch.events]
        await asyncio.sleep(0)
    assert received_ids == ids(*made)
    assert await beside.next_batch() is None, "what is before its position is not for it"
    hub.leave(beside)
    hub.leave(follower)


async def test_there_is_a_bound_on_all_who_follow_and_who_fail_are_not_counted(
    resources: Resources,
) -> None:
    async with EventHub(resources, max_readers=1) as hub:
        first = FeedReader("acc_1", None, START)
        await hub.join(first)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await hub.join(FeedReader("acc_2", None, START))
        hub.leave(first)
        await hub.join(first)
        hub.leave(first)


async def test_a_closed_hub_takes_nobody_and_lets_go_of_those_who_wait(
    hub: EventHub, account: str
) -> None:
    task = await waiting(hub, account)
    hub.close()
    assert await task == []
    with pytest.raises(Unavailable):
        await hub.join(FeedReader(account, None, START))


async def test_it_goes_on_after_postgres_could_not_be_asked(
    hub: EventHub, resources: Resources, account: str, logged: list[EventDict]
) -> None:
    task = await waiting(hub, account)
    await fetch(resources, "ALTER TABLE events RENAME COLUMN body TO gone")

    async def failed() -> bool:
        return any(line.get("action") == "fault" for line in logged)

    await wait_until(failed)
    await fetch(resources, "ALTER TABLE events RENAME COLUMN gone TO body")
    made = await add_committed_subject(resources, account)
    assert await task == ids(made)
    logged[:] = [line for line in logged if line.get("action") != "fault"]


async def test_a_fault_of_one_who_follows_keeps_no_other_from_hearing_that_time_passes(
    hub: EventHub, account: str, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "TICK_INTERVAL", 0.001)
    ticks: list[bool] = []

    class Ticking(FeedReader):
        def __init__(self, *, broken: bool) -> None:
            super().__init__(account, None, BEYOND)
            self.broken = broken

        def tick(self, _now: float) -> None:
            ticks.append(self.broken)
            if self.broken:
                raise ZeroDivisionError

    both = [Ticking(broken=True), Ticking(broken=False)]
    for reader in both:
        await hub.join(reader)

    async def often() -> bool:
        return min(ticks.count(True), ticks.count(False)) > 1

    await wait_until(often)
    for reader in both:
        hub.leave(reader)
    assert any(line.get("action") == "fault" for line in logged)
    logged[:] = [line for line in logged if line.get("action") != "fault"]


async def test_one_who_waits_in_vain_gets_nothing(hub: EventHub, account: str) -> None:
    assert await hub.wait(BatchWaiter(account, None, BEYOND), 0.01) == []
    assert list(hub.readers()) == []
