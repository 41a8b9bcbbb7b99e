"""What the provider answers to a poll moves its subject, or is asked again later."""

from typing import Any

import pytest
from structlog.typing import EventDict

from service.reconciliation.cache.typical_durations import DEFAULT_DURATIONS
from service.reconciliation.steps import poll
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.simulator import SimulatorClient

TYPICAL = DEFAULT_DURATIONS["image_refer"]
NEVER_ENDS = {"lose": True, "processing_after": 600, "finished_after": 600}


async def state(api: Api, subject_id: str) -> str:
    return str((await api.read(subject_id))["state"])


async def count_polls(provider: SimulatorClient) -> int:
    return len((await provider.ledger())["lookups"])


async def submitted(api: Api, provider: SimulatorClient, **fault: Any) -> str:  # noqa: ANN401
    """A submitted subject whose callbacks are lost."""
    await provider.admin("faults", {"lose": True} | fault)
    subject_id: str = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    assert await state(api, subject_id) == "submitted"
    return subject_id


def actions(logged: list[EventDict]) -> list[object]:
    return [line.get("action") for line in logged]


async def test_with_every_callback_lost_a_subject_reaches_its_end_by_polling(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await submitted(api, provider)
    await provider.wait_until_finished(subject_id)
    clock.advance(TYPICAL - 0.1)
    before = await count_polls(provider)
    await api.work(Work.RECONCILE)
    assert await count_polls(provider) == before, "not before it usually takes"
    clock.advance(0.1)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "succeeded"
    assert await api.violations() == []


async def test_a_failure_that_nobody_called_back_about_is_found(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await submitted(api, provider, fail="no face was found")
    await provider.wait_until_finished(subject_id)
    clock.advance(TYPICAL)
    await api.work(Work.RECONCILE)
    assert (await api.read(subject_id))["error"]["message"] == "no face was found"


async def test_the_delays_between_polls_grow(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await submitted(api, provider, **NEVER_ENDS)
    before, polled_at = await count_polls(provider), []
    for second in range(1, 41):
        clock.advance(1)
        await api.work(Work.RECONCILE)
        if await count_polls(provider) > before:
            before += 1
            polled_at.append(second)
    gaps = [later - earlier for earlier, later in zip([0, *polled_at], polled_at, strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] == TYPICAL
    assert gaps[-1] > gaps[0]


@pytest.mark.parametrize("fault", [{"code": 5001}, {"code": 1000}, {"answer": "garbage"}])
async def test_a_poll_without_an_answer_is_made_again(
    api: Api,
    provider: SimulatorClient,
    clock: Clock,
    logged: list[EventDict],
    fault: dict[str, Any],
) -> None:
    subject_id = await submitted(api, provider)
    await provider.wait_until_finished(subject_id)
    await provider.admin("faults", fault | {"on": "query"})
    clock.advance(TYPICAL)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    (line,) = [line for line in logged if line.get("action") == "polled"]
    assert (line["outcome"], line["subject"]) == ("no_answer", subject_id)
    assert line["answer"]
    clock.advance(TYPICAL * 2)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "succeeded"


async def test_an_unknown_status_is_logged_and_polled_again(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = await submitted(api, provider, stuck=True, words={"processing": "pondering"})
    clock.advance(TYPICAL)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    (line,) = [line for line in logged if line.get("action") == "polled"]
    assert (line["status"], line["outcome"]) == ("pondering", "unchanged")


async def test_a_provider_that_forgets_an_accepted_task_changes_nothing(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    subject_id = (await api.create())["id"]
    await transition(
        api.resources, subject_id, StatusUpdate(Signal.SUBMITTED, provider_task_id="gone")
    )
    clock.advance(TYPICAL)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "submitted"
    assert [line["verdict"] for line in logged if line["action"] == "transition"][-1] == "anomaly"


async def test_a_lost_subject_that_never_arrived_is_sent_again_after_the_grace(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", {"answer": "drop", "code": 5002})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    grace = api.resources.settings.not_found_grace
    for _ in range(int(grace)):
        await api.work(Work.RECONCILE)
        assert await state(api, subject_id) == "unconfirmed", "it may still be on its way"
        clock.advance(1)
    clock.advance(grace)
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "queued"
    clock.advance(60)
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
    accepted = [create["outcome"] for create in (await provider.ledger(subject_id))["creates"]]
    assert accepted.count("accepted") == 1
    assert await api.violations() == []


async def test_a_poll_that_was_overtaken_by_a_new_submission_is_late(
    api: Api, provider: SimulatorClient, clock: Clock, logged: list[EventDict]
) -> None:
    await provider.admin("faults", {"answer": "drop", "code": 5002})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    clock.advance(60)
    (stale,) = await poll.claim(api.resources, 1)
    await transition(api.resources, subject_id, StatusUpdate(Signal.ABSENT))
    (fresh,) = await submit.claim(api.resources, 1)
    await poll.poll(api.resources, stale)
    assert [line["verdict"] for line in logged if line["action"] == "transition"][-1] == "late"
    assert (fresh.subject.attempts, await state(api, subject_id)) == (2, "submitting")
