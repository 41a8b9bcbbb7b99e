"""A dump restored in another Postgres cluster, which counts its transactions anew: feeds go on."""

import pytest

from service.event_feed.steps.transaction_ids import rebase_transaction_ids
from service.operations.domain.audit_checks import AuditCheck
from service.operations.store import audit_waiting
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.event_streams import FeedApi, feed_api, subject_ids
from tests.support.subjects import ids_of
from tests.support.webhook_receiver import WebhookReceiver

AHEAD = 1_000_000_000  # transactions that this cluster has not come to
ANOTHER_CLUSTER = "UPDATE transaction_ids SET system_identifier = 7"


async def restore_elsewhere(resources: Resources) -> None:
    """Make the database what a dump is in another cluster: its transaction ids are far ahead."""
    await fetch(resources, ANOTHER_CLUSTER)
    for table, column in (
        ("events", "xid"),
        ("accounts", "pruned_xid"),
        ("installation", "pruned_xid"),
        ("installation", "epoch_xid"),
        ("subscribers", "audited_from_xid"),
        ("subscriber_health", "last_claim_xid"),
    ):
        moved = f"CAST(CAST(CAST(CAST({column} AS text) AS bigint) + {AHEAD} AS text) AS xid8)"
        await fetch(resources, f"UPDATE {table} SET {column} = {moved}")  # noqa: S608


def ahead(cursor: str) -> str:
    """A cursor of the cluster that the dump is of."""
    xid, _, position = cursor.partition("-")
    return f"{int(xid) + AHEAD}-{position}"


async def shown_after(world: FeedApi, cursor: str) -> list[str]:
    body = (await world.get("/v1/events", after=cursor)).json()
    return [event["data"]["id"] for event in body["data"]]


async def test_feeds_go_on_and_cursors_stay_valid(resources: Resources, account: str) -> None:
    async with feed_api(resources, account) as world:
        made = await world.add_subjects(3)
        cursor = ahead((await world.get("/v1/events", limit="1")).json()["next_cursor"])
        now = ahead(f"{(await world.web.app.state.hub.now())[0].xid + 5000}-0")
        await restore_elsewhere(resources)
        assert await shown_after(world, "0-0") == [], "they are ahead"
        assert await rebase_transaction_ids(resources.database)
        later = await world.add_subjects(2)
        assert await shown_after(world, "0-0") == ids_of(*made, *later)
        assert await shown_after(world, cursor) == ids_of(*made[1:], *later)
        assert await shown_after(world, now) == ids_of(*later)
        async with world.stream() as begun, world.stream(last_event_id=cursor) as resumed:
            (live,) = await world.add_subjects()
            assert subject_ids(await begun.frames(1)) == ids_of(live)
            assert subject_ids(await resumed.frames(5)) == ids_of(*made[1:], *later, live)


async def test_a_subject_that_goes_on_stays_in_sequence(resources: Resources, account: str) -> None:
    async with feed_api(resources, account) as world:
        (made,) = await world.add_subjects()
        await restore_elsewhere(resources)
        await rebase_transaction_ids(resources.database)
        await transition(resources, made.id, StatusUpdate(Signal.SUBMITTED, provider_task_id="1"))
        body = (await world.get("/v1/events")).json()
        assert [event["data"]["sequence"] for event in body["data"]] == [1, 2]
        assert await fetch(resources, audit_waiting.CHECKS[AuditCheck.FEED_AHEAD]) == []


async def test_it_is_done_once(resources: Resources, account: str) -> None:
    async with feed_api(resources, account) as world:
        assert not await rebase_transaction_ids(resources.database), "it is from here"
        await world.add_subjects()
        await restore_elsewhere(resources)
        assert [await rebase_transaction_ids(resources.database) for _ in range(2)] == [True, False]
        await fetch(resources, ANOTHER_CLUSTER)  # carried on once more
        (before,) = await fetch(resources, "SELECT added FROM transaction_ids")
        assert await rebase_transaction_ids(resources.database)
        (after,) = await fetch(resources, "SELECT added FROM transaction_ids")
        assert after["added"] > before["added"] + AHEAD
        made = await world.add_subjects()
        assert (await shown_after(world, "0-0"))[-1:] == ids_of(*made)


@pytest.mark.parametrize(
    "column", ["installation SET pruned_xid", "installation SET epoch_xid", "events SET xid"]
)
async def test_whatever_is_ahead_is_found_though_the_cluster_is_said_to_be_the_same(
    resources: Resources, account: str, column: str
) -> None:
    async with feed_api(resources, account) as world:
        await world.add_subjects()
        await fetch(resources, f"UPDATE {column} = '{AHEAD}'")
        assert await rebase_transaction_ids(resources.database)
        assert not await rebase_transaction_ids(resources.database)


async def test_deliveries_that_are_limited_go_on(api: Api, subscriber: WebhookReceiver) -> None:
    """Whoever claimed last counts as under way, until its transaction is seen to have ended."""
    limited = await api.subscribe(subscriber.url, rate=50)
    await api.create()
    await fetch(
        api.resources,
        "UPDATE subscriber_health SET last_claim_xid = $1 WHERE subscriber_id = $2",
        AHEAD,
        limited["id"],
    )
    await fetch(api.resources, ANOTHER_CLUSTER)
    await api.work(Work.DELIVER)
    assert subscriber.requests == []
    await rebase_transaction_ids(api.resources.database)
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 1
