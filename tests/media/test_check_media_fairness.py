"""Which worker checks which media: one at a time, and no account waits for another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.typing import EventDict

from service import worker
from service.accounts.store import api_keys
from service.kit.concurrency.work_loop import WorkLoop
from service.media.steps.check_media import ClaimedMediaCheck, MediaChecker
from service.media.store import media_checks
from service.reconciliation.steps import expired_leases_and_deadlines
from service.resources import Resources
from service.subjects.domain.lifecycle import Ignored, Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import TransitionGuard, transition
from tests.support.api import Api
from tests.support.callbacks import accept_request
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.media_host import MediaHost, media_host, media_row
from tests.support.request_bodies import picture, request_body
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until

PLACES = 8
SMALL = picture(size=(299, 320))


@pytest.fixture
async def media() -> AsyncIterator[MediaHost]:
    async with media_host() as host:
        yield host


async def accepted_subject(resources: Resources, name: str, media: MediaHost, *names: str) -> str:
    """The id of a subject of the account of this name, accepted with images by their names."""
    async with resources.database.transaction() as tx:
        account = await api_keys.ensure_account(
            tx, account_id=resources.new_id("acc"), name=name, now=resources.clock()
        )
    accepted = await accept_request(resources, account, request_body(**media.images(*names)))
    return accepted.subject.id


async def unchecked_subjects(resources: Resources) -> set[str]:
    """The ids of subjects whose media are still to be checked."""
    query = "SELECT id FROM subjects WHERE state = 'queued' AND media_check_at IS NOT NULL"
    return {row["id"] for row in await fetch(resources, query)}


async def wait_until_checked(resources: Resources, subject_id: str) -> None:
    async def is_done() -> bool:
        return subject_id not in await unchecked_subjects(resources)

    await wait_until(is_done)


@asynccontextmanager
async def checking_worker(resources: Resources) -> AsyncIterator[None]:
    """The worker's loop of media checks, woken by its timer; at the end it is canceled."""
    loop: WorkLoop[ClaimedMediaCheck] = worker.make_work_loops(resources)[Work.CHECK_MEDIA]
    running = asyncio.create_task(loop.run(0.01))
    try:
        yield
    finally:
        loop.stop()
        await running
        await loop.finish(0)


async def requested(media: MediaHost, prefix: str, times: int) -> bool:
    """Whether files with names of this prefix were requested so often."""
    return (
        sum(count for name, count in media.request_counts.items() if name.startswith(prefix))
        == times
    )


def outcomes(logged: list[EventDict]) -> list[object]:
    return [line["outcome"] for line in logged if line.get("action") == "media_checked"]


async def test_workers_at_once_check_each_subject_once(
    resources: Resources, media: MediaHost
) -> None:
    names = [f"{number}" for number in range(24)]
    media.files |= {name: picture(shade=10 + int(name)) for name in names}
    ids = {await accepted_subject(resources, f"a{name}", media, name, "front") for name in names}
    checkers = [MediaChecker(resources) for _ in range(4)]

    async def work(checker: MediaChecker) -> None:
        while claimed := await checker.claim(PLACES):
            await asyncio.gather(*(checker.check(check) for check in claimed))

    await asyncio.gather(*(work(checker) for checker in checkers))
    assert await unchecked_subjects(resources) == set()
    assert {name: media.request_counts[name] for name in names} == dict.fromkeys(names, 1)
    assert media.request_counts["front"] == len(ids)


async def test_a_check_of_a_dead_worker_is_made_after_its_lease(
    api: Api, media: MediaHost, clock: Clock
) -> None:
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    (claimed,) = await MediaChecker(api.resources).claim(PLACES)
    assert claimed.subject.id == subject_id
    clock.advance(api.resources.settings.lease - 0.1)
    await api.work(Work.CHECK_MEDIA)
    await api.work(Work.SUBMIT)
    assert media.request_counts.total() == 0
    clock.advance(0.1)
    await api.work(Work.CHECK_MEDIA)
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"


async def test_a_check_that_lost_its_lease_ends_no_subject(api: Api, media: MediaHost) -> None:
    """The token is checked under the lock that the end is written under."""
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    (claimed,) = await MediaChecker(api.resources).claim(PLACES)
    refused = StatusUpdate(Signal.REFUSED, error={"code": "media_not_found", "message": "gone"})
    async with api.resources.database.autocommit() as tx:
        assert await media_checks.complete(tx, subject_id, claimed.lease.token)
    result = await transition(
        api.resources, subject_id, refused, TransitionGuard(media_token=claimed.lease.token)
    )
    assert result is not None
    assert result.ignored is Ignored.LATE
    assert (await api.read(subject_id))["state"] == "queued"


@pytest.mark.parametrize("works", [[Work.CHECK_MEDIA], [Work.CHECK_MEDIA, Work.SUBMIT]])
@pytest.mark.parametrize("late", [SMALL, 404, 503, picture(shade=3)])
async def test_a_stopped_worker_that_comes_late_changes_nothing(
    api: Api, media: MediaHost, logged: list[EventDict], late: bytes | int, works: list[Work]
) -> None:
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    media.held = {"side"}
    stopped = MediaChecker(api.resources)
    (claimed,) = await stopped.claim(PLACES)
    checking = asyncio.create_task(stopped.check(claimed))
    await media.wait_for_request("side")
    media.held = set()
    lapsed = timedelta(seconds=api.resources.settings.lease)
    now = api.resources.clock() + lapsed
    await replace(api, resources=replace(api.resources, clock=lambda: now)).work(*works)
    if Work.SUBMIT in works:
        await api.wait_until_finished(subject_id)
    before = await fetch(api.resources, "SELECT * FROM subjects")
    media.files["side"] = late
    media.gate.set()
    await checking
    assert await fetch(api.resources, "SELECT * FROM subjects") == before
    assert outcomes(logged) == ["passed", "lease_lost"]
    assert await api.violations() == []


async def test_a_subject_canceled_while_its_media_are_checked_stays_canceled(
    api: Api, provider: SimulatorClient, media: MediaHost, logged: list[EventDict]
) -> None:
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    media.held = {"front"}
    async with checking_worker(api.resources):
        await media.wait_for_request("front")
        answer = await api.http.post(f"/v1/subjects/{subject_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
        media.gate.set()
        await wait_until(lambda: _any(outcomes(logged)))
    assert outcomes(logged) == ["lease_lost"]
    assert media.request_counts["side"] == 0, "the rest is not fetched any more"
    await api.work()
    assert (await api.read(subject_id))["state"] == "canceled"
    assert (await provider.ledger())["creates"] == []
    assert await api.violations() == []


async def _any(values: list[object]) -> bool:
    return bool(values)


async def test_the_deadline_ends_a_subject_while_its_media_are_checked(
    api: Api, media: MediaHost, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    media.held, media.files["side"] = {"front"}, SMALL
    async with checking_worker(api.resources):
        await media.wait_for_request("front")
        clock.advance(api.resources.settings.task_deadline)
        await expired_leases_and_deadlines.sweep(api.resources)
        assert (await api.read(subject_id))["error"]["code"] == "deadline_exceeded"
        media.gate.set()
        await wait_until(lambda: _any(outcomes(logged)))
    # Its lease is over by then too: the same worker may have taken it up anew, as late.
    assert set(outcomes(logged)) == {"lease_lost"}
    assert (await api.read(subject_id))["error"]["code"] == "deadline_exceeded"


async def test_an_account_whose_media_hang_keeps_nobody_else_waiting(
    resources: Resources, media: MediaHost
) -> None:
    """No timer runs out here: only the gate, which stays shut, could let its checks end."""
    names = [f"tarpit{number}" for number in range(50)]
    media.held = set(names)
    for name in names:
        await accepted_subject(resources, "slow", media, name, "front")
    async with checking_worker(resources):
        await wait_until(lambda: requested(media, "tarpit", PLACES // 2))
        for number in range(3):
            other = await accepted_subject(resources, f"other{number}", media, "front", "side")
            await wait_until_checked(resources, other)
        assert await requested(media, "tarpit", PLACES // 2), "and no more than these"
        assert len(await unchecked_subjects(resources)) == len(names)


async def test_several_such_accounts_leave_a_place_to_others_too(
    resources: Resources, media: MediaHost
) -> None:
    slow = [f"slow{number}" for number in range(3)]
    media.held = {f"{name}-{number}" for name in slow for number in range(10)}
    for held in sorted(media.held):
        await accepted_subject(resources, held.partition("-")[0], media, held, "front")
    async with checking_worker(resources):

        async def all_begun() -> bool:
            return {name.partition("-")[0] for name in media.request_counts} >= set(slow)

        await wait_until(all_begun)
        other = await accepted_subject(resources, "other", media, "front", "side")
        await wait_until_checked(resources, other)


async def test_one_place_is_taken_in_turns(resources: Resources, media: MediaHost) -> None:
    for number in range(30):
        await accepted_subject(resources, "long", media, f"{number}", "front")
    short = {
        await accepted_subject(resources, "short", media, f"s{number}", "front")
        for number in range(5)
    }
    checker = MediaChecker(resources)
    turns = 0
    while short & await unchecked_subjects(resources):
        (claimed,) = await checker.claim(1)
        await checker.check(claimed)
        turns += 1
    assert turns < 35, "a long queue is not worked off before a short one, whose turn is by lot"


async def test_of_one_account_the_oldest_is_checked_first(
    resources: Resources, media: MediaHost, clock: Clock
) -> None:
    ids = []
    for _ in range(6):
        ids.append(await accepted_subject(resources, "one", media, "front", "side"))
        clock.advance(1)
    claimed = [await MediaChecker(resources).claim(1) for _ in ids]
    assert [check.subject.id for checks in claimed for check in checks] == ids


async def test_a_worker_that_ends_releases_its_checks(
    api: Api, media: MediaHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_TIMEOUT", 0.05)
    subject_id = (await api.create(**media.images("front", "side")))["id"]
    media.held = {"front"}
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(api.resources.settings, stop))
    await media.wait_for_request("front")
    assert (await media_row(api.resources, subject_id))["media_lease_token"] is not None
    stop.set()
    await running
    row = await media_row(api.resources, subject_id)
    assert (row["media_lease_token"], row["media_check_attempts"]) == (None, 0)
    media.held = set()
    later = replace(api.resources, clock=lambda: row["media_check_at"])
    await replace(api, resources=later).work(Work.CHECK_MEDIA)
    assert (await media_row(api.resources, subject_id))["media_check_at"] is None
