"""A hold stops submissions and deliveries, of all or of one account; what is held spends no try."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from service.subjects.domain.work import Work
from service.submission.steps import submit
from service.submission.store import provider_state
from tests.accounts.test_operator_reads import client
from tests.delivery.test_claim_and_record import claim
from tests.submission.test_claim import claim_queued, create_account, create_queued, ids_of
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.deliveries import CLOSED_PORT, create_subjects, deliveries_of
from tests.support.holds import hold, release
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver
from tests.support.work import work_notifications
from tests.support.worker import running_worker, settings_without_sweeps, wait_until_listening

BOTH = ("submissions", "deliveries")
GATE = 4711  # an advisory lock that a test holds
HELD_UP = f"""
    CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN new; END $$;
    CREATE TRIGGER hold_up BEFORE UPDATE ON {{}} FOR EACH ROW EXECUTE FUNCTION hold_up();
"""


@pytest.fixture
async def other(api: Api) -> AsyncIterator[Api]:
    """A caller of another account."""
    async with client(api, "other", DEFAULT_SCOPES) as other:
        yield other


async def attempts(resources: Resources) -> list[tuple[str, int]]:
    """State and attempts of each subject, the oldest first."""
    rows = await fetch(resources, "SELECT state, attempts FROM subjects ORDER BY id")
    return [(row["state"], row["attempts"]) for row in rows]


async def test_no_subject_is_submitted_while_all_are_held_and_no_attempt_is_counted(
    api: Api, provider: SimulatorClient
) -> None:
    made = await hold(api.resources, "submissions")
    subject = await api.create()
    await api.work()
    assert await attempts(api.resources) == [("queued", 0)]
    assert (await provider.ledger())["creates"] == []
    await release(api.resources, made)
    await api.work()
    assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"
    assert await attempts(api.resources) == [("succeeded", 1)]


async def test_an_account_is_passed_over_while_others_take_their_turns(
    resources: Resources, clock: Clock
) -> None:
    accounts = [await create_account(resources, name) for name in ("a", "b", "c")]
    queued = [await create_queued(resources, account, 3) for account in accounts]
    clock.advance(1)
    made = await hold(resources, "submissions", account="b")
    claimed = await claim_queued(resources, 4)
    assert {subject.account_id for subject in claimed} == {accounts[0], accounts[2]}
    assert len(claimed) == 4, "a place that is free is used"
    await claim_queued(resources, 100, "lse_2")
    assert await claim_queued(resources, 100, "lse_3") == []
    await release(resources, made)
    assert set(ids_of(await claim_queued(resources, 2, "lse_4"))) == set(ids_of(queued[1][:2]))


async def test_what_is_claimed_already_is_finished(api: Api, provider: SimulatorClient) -> None:
    subject = await api.create()
    (claimed,) = await submit.claim(api.resources, 1)
    await hold(api.resources, "submissions")
    await submit.submit(api.resources, claimed)
    assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"
    assert len((await provider.ledger())["creates"]) == 1


async def test_what_a_worker_that_died_had_is_looked_up_and_waits_while_it_is_held(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    """The provider may have it: that is asked all the same. It is not sent again."""
    await api.create()
    await submit.claim(api.resources, 1)
    made = await hold(api.resources, "submissions")
    clock.advance(api.resources.settings.lease + 1)
    for _ in range(4):
        await api.work()
        clock.advance(60)
    assert await attempts(api.resources) == [("queued", 1)]
    assert (await provider.ledger())["creates"] == []
    await release(api.resources, made)
    await api.work()
    assert len((await provider.ledger())["creates"]) == 1


async def test_no_probe_is_sent_while_submissions_are_held(api: Api, clock: Clock) -> None:
    await api.create()
    async with api.resources.database.transaction() as tx:
        await provider_state.stop(tx, 1102, "pack used up", clock())
    made = await hold(api.resources, "submissions")
    assert await submit.claim(api.resources, 1) == []
    await release(api.resources, made)
    (probe,) = await submit.claim(api.resources, 1)
    assert probe.is_probe, "it is still due"


async def test_no_delivery_is_attempted_while_all_are_held(
    api: Api, subscriber: WebhookReceiver
) -> None:
    listening = await api.subscribe(subscriber.url)
    made = await hold(api.resources, "deliveries")
    await create_subjects(api, 2)
    await api.work(Work.DELIVER)
    found = await deliveries_of(api, listening)
    assert [(delivery["state"], delivery["attempts"]) for delivery in found] == [
        ("pending", [])
    ] * 2
    assert subscriber.requests == []
    await release(api.resources, made)
    await api.work(Work.DELIVER)
    assert len(await subscriber.wait_for(2)) == 2


async def test_deliveries_that_are_sent_again_by_hand_wait_too(
    api: Api, subscriber: WebhookReceiver
) -> None:
    listening = await api.subscribe(subscriber.url)
    await api.create()
    await api.work(Work.DELIVER)
    made = await hold(api.resources, "deliveries")
    (delivery,) = await deliveries_of(api, listening)
    answer = await api.http.post(f"/v1/deliveries/{delivery['id']}/resend")
    assert answer.is_success
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1
    await release(api.resources, made)
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 2


async def test_deliveries_of_one_account_are_held_while_others_go_on(
    api: Api, other: Api, subscriber: WebhookReceiver
) -> None:
    held = await api.subscribe(subscriber.url)
    free = await other.subscribe(subscriber.url)
    await hold(api.resources, "deliveries", account="acme")
    await api.create()
    await other.create()
    await api.work(Work.DELIVER)
    assert [delivery["state"] for delivery in await deliveries_of(api, held)] == ["pending"]
    assert [delivery["state"] for delivery in await deliveries_of(other, free)] == ["delivered"]


async def test_a_hold_of_one_kind_does_not_stop_the_other(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    made = await hold(api.resources, "submissions")
    await api.create()
    await api.work()
    assert len(subscriber.requests) == 1
    await release(api.resources, made)
    await hold(api.resources, "deliveries")
    await hold(api.resources, "intake")
    assert len(await submit.claim(api.resources, 1)) == 1


@pytest.mark.parametrize("account", [{}, {"account": "a"}])
async def test_a_hold_ends_by_itself_at_its_time(
    resources: Resources, clock: Clock, account: dict[str, str]
) -> None:
    await create_queued(resources, await create_account(resources, "a"), 1)
    until = format_rfc3339(clock() + timedelta(seconds=60))
    await hold(resources, "submissions", until=until, **account)
    clock.advance(59.9)
    assert await claim_queued(resources, 1) == []
    clock.advance(0.1)
    assert len(await claim_queued(resources, 1)) == 1


async def test_a_worker_goes_on_by_itself_within_the_interval_of_its_sweeps(api: Api) -> None:
    """It has its own clock, which does not stand still."""
    until = format_rfc3339(api.resources.clock() + timedelta(seconds=1))
    await hold(api.resources, "submissions", until=until)
    subject = await api.create()
    async with running_worker(api.resources.settings):
        assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"


async def test_release_wakes_a_worker_that_would_sweep_much_later(api: Api) -> None:
    made = await hold(api.resources, "submissions")
    subject = await api.create()
    async with running_worker(settings_without_sweeps(api)):
        await wait_until_listening(api.resources)
        await release(api.resources, made)
        assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"


@pytest.mark.parametrize(
    ("what", "heard"),
    [("submissions", ["submit"]), ("deliveries", ["deliver"]), ("intake", [])],
)
async def test_release_notifies_of_what_was_held(
    resources: Resources, what: str, heard: list[str]
) -> None:
    made = await hold(resources, what)
    async with work_notifications(resources) as committed:
        await release(resources, made)
        assert await committed() == heard


async def claimed_after(resources: Resources, what: str, stop: asyncio.Event) -> int:
    """How many are claimed by one worker, one after the other, until it is stopped."""
    claimed = 0
    while not stop.is_set():
        if what == "submissions":
            claimed += len(await claim_queued(resources, 1, resources.new_id("lse")))
        else:
            claimed += len(await claim(resources, resources.new_id("lse"), 1))
    return claimed


LEASED = {
    "submissions": "SELECT count(*) FROM subjects WHERE state = 'submitting'",
    "deliveries": "SELECT count(*) FROM deliveries WHERE lease_token IS NOT NULL",
}


async def leased(resources: Resources, what: str) -> int:
    (row,) = await fetch(resources, LEASED[what])
    return int(row["count"])


@pytest.mark.parametrize("account", [{}, {"account": "acme"}])
@pytest.mark.parametrize("what", BOTH)
async def test_workers_that_claim_without_pause_take_nothing_once_a_hold_is_made(
    api: Api, clock: Clock, what: str, account: dict[str, str]
) -> None:
    for _ in range(4):
        await api.subscribe(CLOSED_PORT)
    await create_subjects(api, 60)
    clock.advance(1)
    stop = asyncio.Event()
    workers = [asyncio.create_task(claimed_after(api.resources, what, stop)) for _ in range(6)]
    await wait_until(lambda: _some(api.resources, what))
    await hold(api.resources, what, **account)
    when_made = await leased(api.resources, what)
    for _ in range(20):
        assert await leased(api.resources, what) == when_made
    stop.set()
    assert sum(await asyncio.gather(*workers)) == when_made


async def _some(resources: Resources, what: str) -> bool:
    return await leased(resources, what) > 2


TABLES = {"submissions": "subjects", "deliveries": "deliveries"}


@pytest.mark.parametrize("what", BOTH)
async def test_a_hold_waits_for_a_claim_in_progress_and_the_next_one_for_the_hold(
    api: Api, clock: Clock, what: str
) -> None:
    for _ in range(2):
        await api.subscribe(CLOSED_PORT)
        await api.create()
    clock.advance(1)
    gate = await asyncpg.connect(api.resources.settings.database_url)
    await gate.execute(HELD_UP.format(TABLES[what]))
    await gate.execute(f"SELECT pg_advisory_lock({GATE})")
    first = asyncio.create_task(_claim_one(api.resources, what))
    await wait_until_blocked(api.resources, 1)
    made = asyncio.create_task(hold(api.resources, what))
    await wait_until_blocked(api.resources, 2)
    second = asyncio.create_task(_claim_one(api.resources, what))
    await wait_until_blocked(api.resources, 3)
    assert not made.done(), "else something would be claimed after it"
    await gate.close()
    assert await first == 1
    await made
    assert await second == 0


async def _claim_one(resources: Resources, what: str) -> int:
    if what == "submissions":
        return len(await submit.claim(resources, 1))
    return len(await claim(resources, resources.new_id("lse"), 1))


async def test_a_backup_does_not_keep_holds_from_being_made(api: Api) -> None:
    """pg_dump reads every table in one long transaction."""
    connection = await asyncpg.connect(api.resources.settings.database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE holds, subjects IN ACCESS SHARE MODE")
        await hold(api.resources, "submissions")
    await connection.close()
    await api.create()
    assert await submit.claim(api.resources, 1) == []
