"""Without a webhook secret a callback is a hint: the provider is asked, and believed."""

import httpx
import pytest

from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, url_token
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.work import work_notifications


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Settings without webhook secrets."""
    return environ | {"CALLSHEET_WEBHOOK_SECRETS": ""}


async def post_unsigned(api: Api, subject_id: str, body: bytes) -> httpx.Response:
    return await api.http.post(f"/callbacks/{url_token(api.resources, subject_id)}", content=body)


async def submitted_without_callbacks(api: Api, provider: SimulatorClient) -> str:
    """A subject whose callbacks are lost, known here as submitted."""
    await provider.admin("faults", {"lose": True})
    subject_id: str = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    assert (await api.read(subject_id))["state"] == "submitted"
    return subject_id


async def test_a_hint_moves_nothing_but_has_the_provider_asked(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await submitted_without_callbacks(api, provider)
    task = (await api.read(subject_id))["provider_task_id"]
    await provider.wait_until_finished(subject_id)
    async with work_notifications(api.resources) as committed:
        body = legacy_callback(subject_id, "failed", task=task)
        answer = await post_unsigned(api, subject_id, body)
        assert await committed() == ["reconcile"]
    assert (answer.status_code, answer.json()) == (200, {"verdict": "hint"})
    assert (await api.read(subject_id))["state"] == "submitted"
    await api.work(Work.RECONCILE)
    assert (await api.read(subject_id))["state"] == "succeeded", "as the provider has it"
    assert await api.event_types(subject_id) == ["queued", "submitted", "succeeded"]


async def test_a_forged_hint_costs_one_question_and_moves_nothing(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("settings", {"processing_after": 600, "finished_after": 600})
    subject_id = await submitted_without_callbacks(api, provider)
    task = (await api.read(subject_id))["provider_task_id"]
    await post_unsigned(api, subject_id, legacy_callback(subject_id, "succeed", task=task))
    await api.work(Work.RECONCILE)
    assert (await api.read(subject_id))["state"] == "submitted"
    assert len((await provider.ledger(subject_id))["lookups"]) == 1


async def test_equal_hints_are_stored_once_and_counted(api: Api, provider: SimulatorClient) -> None:
    subject_id = await submitted_without_callbacks(api, provider)
    task = (await api.read(subject_id))["provider_task_id"]
    bodies = [
        legacy_callback(subject_id, word, task=task)
        for word in ("processing", "succeed", "processing")
    ]
    verdicts = [(await post_unsigned(api, subject_id, body)).json()["verdict"] for body in bodies]
    assert verdicts == ["hint", "hint", "repeated"]
    rows = await fetch(
        api.resources, "SELECT times_received FROM callbacks ORDER BY times_received"
    )
    assert [row["times_received"] for row in rows] == [1, 2]


async def test_a_hint_needs_an_address_of_ours_all_the_same(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await submitted_without_callbacks(api, provider)
    answer = await api.http.post(f"/callbacks/{subject_id}.x", content=legacy_callback(subject_id))
    assert answer.status_code == 401
    answer = await api.http.post("/callbacks", content=legacy_callback(None, task="7"))
    assert answer.json() == {"verdict": "unknown"}


async def test_a_hint_for_a_subject_not_sent_yet_is_only_stored(api: Api) -> None:
    subject_id = (await api.create())["id"]
    assert (await post_unsigned(api, subject_id, legacy_callback(subject_id))).json() == {
        "verdict": "hint"
    }
    assert (await api.read(subject_id))["state"] == "queued"
    (row,) = await fetch(api.resources, "SELECT next_poll_at FROM subjects")
    assert row["next_poll_at"] is None
