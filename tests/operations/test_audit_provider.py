"""The audit against the provider finds what the two do not agree on, and nothing where they do."""

from datetime import datetime, timedelta

import pytest

from service.kit.errors import Unavailable
from service.operations.domain.audit_checks import ProviderCheck
from service.operations.domain.provider_audit import SETTLED, HeldSubject, lost_here
from service.operations.steps import audit_provider
from service.provider.domain.our_tasks import our_id
from service.provider.domain.task_reports import TaskReport, TaskStatus
from service.provider.steps import task_list
from service.subjects.domain.lifecycle import CALLED_BACK, TERMINAL, Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.subjects import NOW

ORPHAN = "sub_00000000000000000000000001"
END = "finished_at = now(), next_poll_at = NULL"
# Each makes us hold another state than the provider's, which is that the task has succeeded.
LOST = {
    "canceled": f"state = 'canceled', {END}, result = NULL",
    "failed": f"state = 'failed', {END}, result = NULL, error = '{{}}'",
    "queued": "state = 'queued', finished_at = NULL, result = NULL, updated_at = '2001-01-01Z'",
    "processing": "state = 'processing', finished_at = NULL, result = NULL, next_poll_at = now(),"
    " updated_at = '2001-01-01Z'",
    "succeeded": "provider_task_id = '1'",
}


async def differences(api: Api, since: datetime | None = None) -> list[tuple[str, str]]:
    """The check and the id of each difference that is found."""
    report = await audit_provider.compare(api.resources, since)
    return [(one.check, one.about.partition(":")[0]) for one in report.violations]


async def succeeded(api: Api, **changes: str) -> str:
    """The id of a subject that has gone its way."""
    subject = await api.create(**changes)
    await api.work(Work.CHECK_MEDIA, Work.SUBMIT)
    assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"
    return str(subject["id"])


async def test_where_both_agree_there_is_no_difference(api: Api, provider: SimulatorClient) -> None:
    for number in range(3):
        await succeeded(api, element_name=f"{number}")
    await api.create(element_name="only queued")
    await provider.create(external_task_id="made-by-hand")
    report = await audit_provider.compare(api.resources)
    assert report.violations == []
    assert report.checked == {"provider_tasks": 4, "provider_look_ups": 0}


@pytest.mark.parametrize("state", LOST)
async def test_what_a_task_came_to_and_its_subject_did_not_is_found(
    api: Api, clock: Clock, state: str
) -> None:
    subject_id = await succeeded(api)
    await fetch(api.resources, f"UPDATE subjects SET {LOST[state]}")  # noqa: S608
    if state in {"queued", "processing"}:
        assert await differences(api) == [], "a callback may be on its way"
        clock.advance(SETTLED.total_seconds() + 60)
    (found,) = (await audit_provider.compare(api.resources)).violations
    assert found.check is ProviderCheck.LOST_HERE
    assert found.about.startswith(f"{subject_id}: {state} here, succeeded there, task ")
    assert await differences(api, clock.now + timedelta(hours=1)) == [], "nothing has changed since"


async def test_a_task_with_an_id_of_our_kind_and_no_subject_is_found(
    api: Api, provider: SimulatorClient
) -> None:
    await succeeded(api)
    await provider.create(external_task_id=ORPHAN)
    assert await differences(api) == [("orphan_there", ORPHAN)]


async def test_a_subject_whose_task_the_provider_does_not_know_is_found(
    api: Api, clock: Clock
) -> None:
    subject = await api.create()
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id="831922345719271433")
    await transition(api.resources, subject["id"], update)
    assert await differences(api) == [("unknown_there", subject["id"])]
    assert await differences(api, clock.now - timedelta(hours=1)) == [
        ("unknown_there", subject["id"])
    ]


async def test_what_the_list_does_not_have_and_a_look_up_finds_is_known(
    api: Api, provider: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "PAGE", 1)
    monkeypatch.setattr(task_list, "MAX_PAGES", 1)
    await succeeded(api, element_name="a")
    await provider.create(external_task_id="newest")
    report = await audit_provider.compare(api.resources)
    assert report.violations == []
    assert report.checked == {"provider_tasks": 1, "provider_look_ups": 1}


async def test_all_pages_are_read_and_with_a_time_those_that_have_changed_since(
    api: Api, clock: Clock, provider: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "PAGE", 2)
    for number in range(5):
        await provider.create(external_task_id=f"{ORPHAN[:-1]}{number}")
    report = await audit_provider.compare(api.resources)
    assert (len(report.violations), report.checked["provider_tasks"]) == (5, 5)
    report = await audit_provider.compare(api.resources, clock.now + timedelta(hours=1))
    assert (report.violations, report.checked["provider_tasks"]) == ([], 2)


@pytest.mark.parametrize("on", ["list", "query"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"code": 1102}, "The provider refuses, with code 1102"),
        ({"code": 5001}, "The provider could not be asked"),
        ({"answer": "garbage"}, "The provider could not be asked: an answer nobody can read"),
    ],
)
async def test_a_provider_that_cannot_be_asked_is_no_agreement(
    api: Api, provider: SimulatorClient, on: str, fault: dict[str, object], reason: str
) -> None:
    await provider.create(external_task_id=ORPHAN)
    await provider.admin("faults", {"on": on, "times": None, **fault})
    with pytest.raises(Unavailable, match=reason):
        await audit_provider.compare(api.resources)


async def test_a_call_that_fails_once_is_tried_again(api: Api, provider: SimulatorClient) -> None:
    await provider.create(external_task_id=ORPHAN)
    await provider.admin("faults", [{"on": on, "code": 1302} for on in ("list", "query")])
    assert await differences(api) == [("orphan_there", ORPHAN)]


async def test_more_differences_than_may_be_looked_up_are_said_to_be_so(
    api: Api, provider: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_provider, "MAX_LOOK_UPS", 1)
    for number in range(2):
        await provider.create(external_task_id=f"{ORPHAN[:-1]}{number}")
    with pytest.raises(Unavailable, match="give --since"):
        await audit_provider.compare(api.resources)


def report(status: TaskStatus | None, external_id: str | None = ORPHAN) -> TaskReport:
    return TaskReport("7", external_id, status, "", "", NOW, NOW, None, None)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("status", [*TaskStatus, None])
def test_what_both_say_agrees_unless_one_has_come_to_another_end(
    state: State, status: TaskStatus | None
) -> None:
    ends = {TaskStatus.SUCCEEDED: State.SUCCEEDED, TaskStatus.FAILED: State.FAILED}
    held = HeldSubject(ORPHAN, state, "7", NOW)
    soon = lost_here(held, report(status), NOW + SETTLED)
    later = lost_here(held, report(status), NOW + 2 * SETTLED)
    if status in ends:
        assert (later is None) == (state is ends[status])
    elif state in CALLED_BACK | {State.SUCCEEDED}:
        assert later is None
    else:
        assert later is not None, "the provider runs what we do not believe to be there"
    assert soon == (later if state in TERMINAL else None)


@pytest.mark.parametrize(
    ("external_id", "ours"),
    [
        (ORPHAN, True),
        (ORPHAN + "0", False),
        ("sub_1", False),
        (ORPHAN.upper(), False),
        (None, False),
    ],
)
def test_an_id_of_our_kind_is_known_by_its_letters(external_id: str | None, ours: bool) -> None:  # noqa: FBT001
    assert (our_id(report(None, external_id)) == external_id) == (ours or external_id is None)
