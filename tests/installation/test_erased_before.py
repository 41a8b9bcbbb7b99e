"""What was erased in the minutes that a restore has lost is erased again before anybody is told."""

from collections.abc import Sequence

import pytest

from service.accounts.steps.action_log import command_line
from service.erasure.steps.erase import Erased
from service.installation.steps.erased_before import UNKNOWN_END, erase_before_telling
from service.kit.errors import Unavailable
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.subjects import subject_in_state
from tests.support.webhook_receiver import WebhookReceiver


async def erase_again(api: Api, ids: Sequence[str]) -> Erased:
    return await erase_before_telling(api.resources, ids, command_line())


async def told(api: Api, subscriber: WebhookReceiver, subject_id: str) -> list[str]:
    """The types of all that the subscriber is told of the subject, once all is delivered."""
    await api.work(Work.DELIVER)
    bodies = [body.decode() for _, body in subscriber.requests]
    return [body.split('"type":"')[1].split('"')[0] for body in bodies if subject_id in body]


async def test_one_that_is_queued_here_and_has_ended_there_ends_so_and_is_told_of_as_deleted_only(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    subject_id = (await api.create())["id"]
    await provider.create(external_task_id=subject_id)
    await provider.wait_until_finished(subject_id)
    erased = await erase_again(api, [subject_id])
    assert [subject.id for subject in erased.now] == [subject_id]
    read = await api.read(subject_id)
    assert (read["state"], read["version"], read["element_name"]) == ("succeeded", 3, None)
    assert await told(api, subscriber, subject_id) == ["subject.deleted"]
    shown = (await api.http.get("/v1/events")).json()["data"]
    assert [event["type"] for event in shown] == ["subject.deleted"]


@pytest.mark.parametrize("state", [State.QUEUED, State.UNCONFIRMED, State.SUBMITTED])
async def test_one_whose_end_the_provider_does_not_know_fails_with_a_code_of_its_own(
    api: Api, state: State
) -> None:
    subject_id = await subject_in_state(api, state)
    await erase_again(api, [subject_id])
    read = await api.read(subject_id)
    assert (read["state"], bool(read["erased_at"])) == ("failed", True)
    assert UNKNOWN_END.error is not None
    assert read["error"]["code"] == UNKNOWN_END.error["code"]
    assert await api.violations() == []


async def test_those_that_have_ended_here_are_erased_and_those_that_are_not_here_are_passed_over(
    api: Api,
) -> None:
    ended = await subject_in_state(api, State.SUCCEEDED)
    lost = api.resources.new_id("sub")
    erased = await erase_again(api, [lost, ended])
    assert ([subject.id for subject in erased.now], erased.unknown) == ([ended], [lost])
    again = await erase_again(api, [lost, ended])
    assert ([subject.id for subject in again.before], again.now) == ([ended], [])


async def test_if_the_provider_cannot_be_asked_it_stays_as_it_is(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = (await api.create())["id"]
    await provider.admin("faults", {"on": "query", "code": 1002, "times": None})
    with pytest.raises(Unavailable):
        await erase_again(api, [subject_id])
    rows = await fetch(api.resources, "SELECT state, erased_at FROM subjects")
    assert rows == [{"state": "queued", "erased_at": None}]
