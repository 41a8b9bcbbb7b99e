"""A restored database goes on once an operator says so: everything is looked up, and nothing is
lost of it if it is cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from service.accounts.steps.action_log import command_line
from service.installation.domain.installation import Installation
from service.installation.steps import note_moment, resume
from service.installation.steps.look_ups import LookUpsDue, look_up_everything
from service.installation.steps.resume import Resumed
from service.installation.steps.unchanged import Overtaken
from service.resources import Resources
from service.subjects.domain.work import Work
from service.wiring import open_resources
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver
from tests.support.work import work_notifications

BACK = "UPDATE installation SET last_moment = last_moment - interval '10 minutes'"


@asynccontextmanager
async def another_process(api: Api, public_url: str | None = None) -> AsyncIterator[Resources]:
    """One more process, at this address; None: at the same."""
    settings = api.resources.settings
    settings = replace(settings, public_url=public_url or settings.public_url)
    async with open_resources(settings) as opened:
        yield replace(opened, clock=api.resources.clock)


async def go_back(resources: Resources) -> None:
    """Let the database look as if it was put back to ten minutes ago."""
    await note_moment.look(resources)
    await fetch(resources, BACK)
    await note_moment.look(resources)
    assert not resources.home.is_open


async def resumed(resources: Resources, *, moved: bool = False) -> Resumed:
    found = await resume.begin(resources, moved=moved)
    resources.clock.advance(60)  # type: ignore[attr-defined]
    await resume.wait_until_settled(resources, found)
    due = await look_up_everything(resources, found)
    return await resume.finish(resources, found, due, command_line())


async def row(resources: Resources) -> dict[str, object]:
    return (await fetch(resources, "SELECT * FROM installation"))[0]


async def test_a_held_database_goes_on_and_nothing_is_sent_before(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    subject_id = (await api.create())["id"]
    await go_back(api.resources)
    await api.work()
    assert (await provider.ledger())["creates"] == []
    assert subscriber.requests == []
    async with work_notifications(api.resources) as committed:
        done = await resumed(api.resources)
        assert {kind for payload in await committed() for kind in payload.split(",")} >= set(Work)
    assert api.resources.home.is_open
    found = await row(api.resources)
    assert (found["held_reason"], found["held_since"]) == (None, None)
    assert (found["feed_epoch"], found["last_moment"]) == (done.epoch, done.moment)
    api.resources.clock.advance(60)  # type: ignore[attr-defined]
    await api.work(Work.RECONCILE)
    api.resources.clock.advance(60)  # type: ignore[attr-defined]
    await api.work()
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
    assert [create["outcome"] for create in (await provider.ledger())["creates"]] == ["accepted"]
    (action,) = await fetch(api.resources, "SELECT * FROM actions WHERE action = 'resumed'")
    assert action["object_id"] == found["installation_id"]


async def test_what_is_held_is_not_canceled_as_the_provider_may_have_it(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await go_back(api.resources)
    answer = await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "installation_held")
    assert answer.json()["state"] == "queued"
    await resumed(api.resources)
    assert (await api.read(subject_id))["state"] == "unconfirmed"


async def test_another_process_that_remembers_later_moments_goes_on_too(api: Api) -> None:
    async with another_process(api) as other:
        await note_moment.look(other)
        await go_back(api.resources)
        await note_moment.look(other)
        assert not other.home.is_open
        await resumed(api.resources)
        await note_moment.look(other)
        assert other.home.is_open


def test_a_clock_that_is_ahead_lets_nobody_wait_for_longer(clock: Clock) -> None:
    for held_since, left in ((0, 40), (30, 10), (90, 0), (-3600, 40)):
        since = clock.now - timedelta(seconds=held_since)
        held = Installation("ins_1", None, None, "why", since)
        assert resume.until_settled(held, 40, clock.now) == left


async def test_what_is_not_held_is_not_resumed(api: Api) -> None:
    await note_moment.look(api.resources)
    before = await row(api.resources)
    with pytest.raises(resume.NothingToResume, match="not held"):
        await resume.begin(api.resources, moved=True)
    after = await row(api.resources)
    assert after["held_reason"] is None
    assert after["feed_epoch"] == before["feed_epoch"]


async def test_what_nobody_has_found_out_is_held_by_who_says_that_it_was_restored(
    api: Api, provider: SimulatorClient
) -> None:
    await api.create()
    await note_moment.look(api.resources)
    found = await resume.begin(api.resources, restored=True)
    assert found.held_reason == resume.SAID
    await api.work()
    assert (await provider.ledger())["creates"] == []
    await resumed(api.resources)
    assert (await row(api.resources))["held_reason"] is None


async def test_at_another_address_it_is_resumed_only_if_that_is_said_to_be_home(api: Api) -> None:
    await note_moment.look(api.resources)
    async with another_process(api, "https://new.example") as moved:
        with pytest.raises(resume.NothingToResume, match="adopt"):
            await resume.begin(moved, moved=False)
        assert (await row(moved))["held_reason"] is None
        await resumed(moved, moved=True)
        assert (await row(moved))["public_url"] == moved.home.url
        await note_moment.look(api.resources)
        assert (moved.home.is_open, api.resources.home.is_open) == (True, False)


async def test_who_is_cut_off_leaves_everything_held_and_may_run_it_again(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = (await api.create())["id"]
    await go_back(api.resources)
    first = await resume.begin(api.resources, moved=False)
    await look_up_everything(api.resources, first)
    api.resources.clock.advance(3600)  # type: ignore[attr-defined]
    await api.work()
    assert (await provider.ledger())["lookups"] == [], "it was cut off here"
    again = await resume.begin(api.resources, moved=False)
    assert (again.held_since, again.last_moment) == (first.held_since, first.last_moment)
    await resumed(api.resources)
    await api.work()
    assert (await provider.ledger(subject_id))["lookups"]


async def test_of_two_that_run_at_once_one_stops_before_it_takes_what_the_other_let_begin(
    api: Api,
) -> None:
    await go_back(api.resources)
    found = await resume.begin(api.resources)
    done = await resumed(api.resources)
    queued = (await api.create())["id"]
    with pytest.raises(Overtaken):
        await look_up_everything(api.resources, found)
    with pytest.raises(Overtaken):
        await resume.finish(api.resources, found, LookUpsDue(0, 0, 0), command_line())
    assert (await api.read(queued))["state"] == "queued"
    assert (await row(api.resources))["feed_epoch"] == done.epoch


async def test_it_waits_until_what_was_on_its_way_has_arrived(api: Api, clock: Clock) -> None:
    settings = api.resources.settings
    held = Installation("ins_1", None, None, "why", clock.now)
    clock.advance(settings.lease + settings.not_found_grace - 3600)
    waiting = asyncio.create_task(resume.wait_until_settled(api.resources, held))
    assert not (await asyncio.wait([waiting], timeout=0.01))[0]
    waiting.cancel()
    clock.advance(3600)
    await resume.wait_until_settled(api.resources, held)
