"""Claimed work of every kind belongs to one worker for one lease, which it renews."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from structlog.typing import EventDict

from service.delivery.steps.deliver import Deliverer
from service.kit.database.database import Database
from service.kit.errors import Unavailable
from service.kit.leases import Lease
from service.local.ports import free_port
from service.media.steps.check_media import MediaChecker
from service.reconciliation.steps import expired_leases_and_deadlines, poll, renew_leases
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from service.worker import keep_leases, make_work_loops
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import scripted_subscriber
from tests.support.media_host import media_host
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until

NOBODY = "http://127.0.0.1:65009"
PLACES = 10
SHORT = 20.0  # seconds: less than a lease, and twice that is more


async def submissions(resources: Resources) -> list[Lease]:
    return [claimed.lease for claimed in await submit.claim(resources, PLACES)]


async def media_checks(resources: Resources) -> list[Lease]:
    return [claimed.lease for claimed in await MediaChecker(resources).claim(PLACES)]


async def deliveries(resources: Resources) -> list[Lease]:
    return [claimed.lease for claimed in await Deliverer(resources).claim(PLACES)]


@dataclass(frozen=True)
class WorkKind:
    """One kind of work: how it is claimed, and where the end of its lease is written."""

    claim: Callable[[Resources], Awaitable[list[Lease]]]
    end_query: str

    async def end_of(self, api: Api, lease: Lease) -> datetime:
        (row,) = await fetch(api.resources, f"{self.end_query} WHERE id = $1", lease.id)
        end: datetime = row["lease_end"]
        return end


WORK_KINDS = {
    "submission": WorkKind(submissions, "SELECT lease_until AS lease_end FROM subjects"),
    "media check": WorkKind(media_checks, "SELECT media_check_at AS lease_end FROM subjects"),
    "delivery": WorkKind(deliveries, "SELECT due_at AS lease_end FROM deliveries"),
}
each_kind = pytest.mark.parametrize("kind", WORK_KINDS.values(), ids=WORK_KINDS.keys())


async def create(api: Api, kind: WorkKind) -> None:
    """Create work of this kind; its subscriber or media never answer."""
    if kind is WORK_KINDS["delivery"]:
        await api.subscribe(NOBODY, timeout=30)
    urls = {"frontal_image": NOBODY, "refer_images": [{"image_url": f"{NOBODY}/other"}]}
    given = {"element_image_list": urls} if kind is WORK_KINDS["media check"] else {}
    await api.create(**given)


async def claim_work(api: Api, kind: WorkKind) -> Lease:
    await create(api, kind)
    (lease,) = await kind.claim(api.resources)
    return lease


def end_of_new_lease(api: Api) -> datetime:
    """When a lease ends that begins now."""
    return api.resources.clock() + timedelta(seconds=api.resources.settings.lease)


@each_kind
async def test_any_claimed_work_is_free_again_after_one_lease(
    api: Api, clock: Clock, kind: WorkKind
) -> None:
    lease = await claim_work(api, kind)
    assert await kind.end_of(api, lease) == lease.until == end_of_new_lease(api)
    clock.advance(api.resources.settings.lease - 0.1)
    assert lease.outlasts(clock())
    clock.advance(0.1)
    assert not lease.outlasts(clock())


async def test_a_poll_whose_worker_died_is_made_by_another_after_one_lease(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", {"lose": True})
    await api.create()
    await api.work(Work.SUBMIT)
    clock.advance(3600)
    (asked,) = await poll.claim(api.resources, PLACES)
    assert asked.next_poll_at == end_of_new_lease(api)


@each_kind
async def test_a_renewed_lease_lasts_a_whole_lease_more(
    api: Api, clock: Clock, kind: WorkKind
) -> None:
    lease = await claim_work(api, kind)
    for _ in range(3):
        clock.advance(SHORT)
        await renew_leases.renew(api.resources, [lease])
        assert await kind.end_of(api, lease) == lease.until == end_of_new_lease(api)
    clock.advance(SHORT)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert await kind.claim(api.resources) == [], "nobody else takes it"
    assert lease.outlasts(clock())


@each_kind
async def test_an_expired_lease_is_not_renewed(api: Api, clock: Clock, kind: WorkKind) -> None:
    lease = await claim_work(api, kind)
    end = lease.until
    clock.advance(api.resources.settings.lease)
    await renew_leases.renew(api.resources, [lease])
    assert await kind.end_of(api, lease) == lease.until == end
    assert not lease.outlasts(clock())


async def taken_up(api: Api, kind: WorkKind) -> Lease:
    """An expired lease whose work another worker has claimed."""
    await expired_leases_and_deadlines.sweep(api.resources)
    (subject,) = await fetch(api.resources, "SELECT id, state FROM subjects")
    if subject["state"] == "unconfirmed":
        await transition(api.resources, subject["id"], StatusUpdate(Signal.ABSENT))
    (lease,) = await kind.claim(api.resources)
    return lease


@each_kind
async def test_a_lease_that_another_has_taken_up_is_renewed_by_that_one_alone(
    api: Api, clock: Clock, kind: WorkKind
) -> None:
    stale = await claim_work(api, kind)
    end = stale.until
    clock.advance(api.resources.settings.lease)
    fresh = await taken_up(api, kind)
    assert (stale.id, stale.token != fresh.token) == (fresh.id, True)
    clock.advance(SHORT)
    await renew_leases.renew(api.resources, [stale])
    assert stale.until == end
    assert await kind.end_of(api, fresh) == fresh.until < end_of_new_lease(api)
    await renew_leases.renew(api.resources, [stale, fresh])
    assert stale.until == end
    assert await kind.end_of(api, fresh) == fresh.until == end_of_new_lease(api)


@each_kind
async def test_a_row_that_somebody_writes_keeps_the_others_waiting_for_nothing(
    api: Api, clock: Clock, kind: WorkKind
) -> None:
    await create(api, kind)
    await create(api, kind)
    written, other = (await kind.claim(api.resources))[:2]
    end = written.until
    clock.advance(SHORT)
    table = kind.end_query.rpartition(" ")[2]
    async with api.resources.database.transaction() as tx:
        locked = text(f"SELECT FROM {table} WHERE id = :id FOR UPDATE")
        await tx.execute(locked, {"id": written.id})
        await renew_leases.renew(api.resources, [written, other])
    assert (written.until, other.until) == (end, end_of_new_lease(api))
    await renew_leases.renew(api.resources, [written, other])
    assert written.until == end_of_new_lease(api), "the next time"


@each_kind
async def test_a_lease_that_could_not_be_renewed_keeps_its_end(
    api: Api, clock: Clock, kind: WorkKind
) -> None:
    lease = await claim_work(api, kind)
    end = lease.until
    clock.advance(SHORT)
    away = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    with pytest.raises(Unavailable):
        await renew_leases.renew(replace(api.resources, database=away), [lease])
    await away.close()
    assert lease.until == end


async def test_media_are_not_fetched_once_the_lease_ran_out(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    async with media_host() as media:
        await api.create(**media.images("front", "side"))
        checker = MediaChecker(api.resources)
        (claimed,) = await checker.claim(PLACES)
        clock.advance(api.resources.settings.lease)
        await checker.check(claimed)
        assert media.request_counts.total() == 0
    assert logged[-1]["outcome"] == "lease_lost"


async def test_a_work_loop_holds_its_leases_until_the_work_ends(api: Api, clock: Clock) -> None:
    async with scripted_subscriber(200) as slow:
        await api.subscribe(slow.url)
        await api.create()
        slow.gate = gate = asyncio.Event()
        loop = make_work_loops(api.resources)[Work.DELIVER]
        await loop.drain()
        (claimed,) = loop.in_progress
        clock.advance(SHORT)
        await renew_leases.renew(api.resources, [claimed.lease])
        clock.advance(SHORT)
        assert await Deliverer(api.resources).claim(PLACES) == []
        gate.set()
        await loop.finish(30)
        assert loop.in_progress == []
    (delivery,) = await fetch(api.resources, "SELECT state FROM deliveries")
    assert delivery["state"] == "delivered"


async def test_a_renewal_that_fails_is_made_again(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    quick = replace(api.resources, settings=replace(api.resources.settings, lease=0.2))
    away = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    async with scripted_subscriber(200) as slow:
        await api.subscribe(slow.url)
        await api.create()
        slow.gate = gate = asyncio.Event()
        loops = make_work_loops(api.resources)
        await loops[Work.DELIVER].drain()
        (claimed,) = loops[Work.DELIVER].in_progress
        await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN lease_until TO hidden")
        clock.advance(SHORT)
        for resources, action in (
            (replace(quick, database=away), "leases_not_renewed"),
            (quick, "fault"),
        ):
            keeping = asyncio.create_task(keep_leases(resources, loops))
            await wait_until(lambda action=action: actions(logged).count(action) > 1)  # type: ignore[misc]
            keeping.cancel()
        await fetch(api.resources, "ALTER TABLE subjects RENAME COLUMN hidden TO lease_until")
        end = claimed.lease.until
        keeping = asyncio.create_task(keep_leases(quick, loops))
        await wait_until(lambda: claimed.lease.until != end)
        keeping.cancel()
        logged.clear()
        gate.set()
        await loops[Work.DELIVER].finish(30)
    await away.close()


def actions(logged: list[EventDict]) -> list[object]:
    return [line.get("action") for line in logged]
