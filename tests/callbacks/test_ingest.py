"""Callbacks are applied by what they report, whatever their order and their claims."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from service.callbacks.domain.callback import RawCallback
from service.callbacks.steps import ingest
from service.callbacks.steps.verify import verify
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from service.subjects.steps.transition import MAX_LINE_ENTRIES
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.callbacks import (
    ELEMENT_ID,
    TASK_ID,
    current_callback,
    legacy_callback,
    signed_headers,
    stored_callbacks,
)
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.ingestion import post_callback, state_of, submitted_subject
from tests.support.simulator import SimulatorClient
from tests.support.work import work_notifications

OTHER_TASK = "880000000000000002"
OUT_OF_ORDER = (  # what comes first, what then, and what that is
    ("succeed", "processing", "late"),
    ("succeed", "submitted", "late"),
    ("processing", "submitted", "late"),
    ("processing", "processing", "repeated"),
    ("succeed", "failed", "anomaly"),
    ("failed", "succeed", "anomaly"),
)


@pytest.mark.parametrize("write", [legacy_callback, current_callback])
async def test_callbacks_of_either_shape_walk_a_subject_to_its_end(api: Api, write: Any) -> None:  # noqa: ANN401
    subject_id = (await api.create())["id"]
    for number, word in enumerate(("submitted", "processing", "succeed")):
        assert (
            await post_callback(api, subject_id, write(subject_id, word), f"msg_{number}")
            == "applied"
        )
    subject = await api.read(subject_id)
    assert (subject["state"], subject["provider_task_id"]) == ("succeeded", TASK_ID)
    assert subject["subject"]["element_id"] == ELEMENT_ID
    types = ["queued", "submitted", "processing", "succeeded"]
    assert await api.event_types(subject_id) == types


async def test_a_failure_carries_the_providers_words(api: Api) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id, "failed", task_status_msg="no face was found")
    assert await post_callback(api, subject_id, body) == "applied"
    error = (await api.read(subject_id))["error"]
    assert error == {"code": "provider_failed", "message": "no face was found"}


async def test_what_comes_late_or_contradicts_is_stored_and_changes_nothing(api: Api) -> None:
    for number, (first, then, expected) in enumerate(OUT_OF_ORDER):
        subject_id = await submitted_subject(api, str(number))
        messages = [f"{number}_1", f"{number}_2"]
        body = legacy_callback(subject_id, first, str(number))
        assert await post_callback(api, subject_id, body, messages[0]) == "applied"
        before = await api.read(subject_id)
        body = legacy_callback(subject_id, then, str(number))
        assert await post_callback(api, subject_id, body, messages[1]) == expected
        assert await api.read(subject_id) == before
        verdicts = {row["dedup_key"]: row["verdict"] for row in await stored_callbacks(api)}
        assert [verdicts[message] for message in messages] == ["applied", expected]
    assert await api.violations() == []


async def test_a_callback_for_a_canceled_subject_is_an_anomaly(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    assert await post_callback(api, subject_id, legacy_callback(subject_id)) == "anomaly"
    assert await state_of(api, subject_id) == "canceled"


async def test_a_callback_that_overtakes_the_answer_to_our_own_call_wins(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": True})
    subject_id = (await api.create())["id"]
    (claimed,) = await submit.claim(api.resources, 1)
    assert await state_of(api, subject_id) == "submitting"
    assert await post_callback(api, subject_id, legacy_callback(subject_id)) == "applied"
    await submit.submit(api.resources, claimed)
    subject = await api.read(subject_id)
    assert (subject["state"], subject["provider_task_id"]) == ("succeeded", TASK_ID)
    assert await api.event_types(subject_id) == ["queued", "succeeded"]
    assert await api.violations() == []


async def test_a_body_that_names_another_subject_than_its_address_moves_neither(api: Api) -> None:
    first, second = await submitted_subject(api), await submitted_subject(api, OTHER_TASK)
    assert await post_callback(api, first, legacy_callback(second)) == "mismatch"
    assert (
        await post_callback(api, first, legacy_callback(first, task=OTHER_TASK), "msg_2")
        == "mismatch"
    )
    assert (
        await post_callback(api, first, legacy_callback(None, task=OTHER_TASK), "msg_3")
        == "mismatch"
    )
    assert [await state_of(api, subject_id) for subject_id in (first, second)] == ["submitted"] * 2
    assert {row["subject_id"] for row in await stored_callbacks(api)} == {first}


@pytest.mark.parametrize("named", [True, False])
async def test_a_body_that_names_another_subjects_task_moves_neither(
    api: Api, *, named: bool
) -> None:
    await submitted_subject(api, TASK_ID)
    early = (await api.create())["id"]
    body = legacy_callback(early if named else None, task=TASK_ID)
    assert await post_callback(api, early, body) == "mismatch"
    assert await state_of(api, early) == "queued"


async def test_a_callback_about_nothing_we_know_is_stored(api: Api) -> None:
    nobody = "sub_00000000000000000000000000"
    assert await post_callback(api, nobody, legacy_callback(nobody)) == "unknown"
    test_message = current_callback(None, "submitted", outputs=[])
    assert await post_callback(api, None, test_message, "msg_2") == "unknown"
    assert await post_callback(api, None, legacy_callback(nobody), "msg_3") == "unknown"
    rows = await stored_callbacks(api, order="dedup_key")
    assert [row["subject_id"] for row in rows] == [nobody, None, None]


@pytest.mark.parametrize("by", ["external id", "task"])
async def test_a_signed_callback_at_the_common_address_is_applied(api: Api, by: str) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id if by == "external id" else None)
    assert await post_callback(api, None, body) == "applied"
    assert await state_of(api, subject_id) == "succeeded"


@pytest.mark.parametrize(
    "changes", [{"task_status": "thinking"}, {"task_result": {"elements": []}}]
)
async def test_what_nothing_can_be_made_of_is_parked_and_the_provider_asked(
    api: Api, provider: SimulatorClient, changes: dict[str, Any]
) -> None:
    await provider.admin("faults", {"lose": True})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    task = (await api.read(subject_id))["provider_task_id"]
    await provider.wait_until_finished(subject_id)
    assert (
        await post_callback(api, subject_id, legacy_callback(subject_id, task=task, **changes))
        == "parked"
    )
    assert await state_of(api, subject_id) == "submitted"
    await api.work(Work.RECONCILE)
    assert await state_of(api, subject_id) == "succeeded"
    (row,) = await stored_callbacks(api)
    assert "nothing can be made of the status" in row["reason"]


async def test_a_parked_callback_at_the_common_address_has_the_provider_asked_too(
    api: Api,
) -> None:
    subject_id = await submitted_subject(api)
    assert await post_callback(api, None, legacy_callback(subject_id, "thinking")) == "parked"
    (row,) = await fetch(api.resources, "SELECT next_poll_at FROM subjects")
    assert row["next_poll_at"] <= api.resources.clock()


async def test_the_place_of_an_ended_subject_goes_to_the_next(api: Api, clock: Clock) -> None:
    subject_id = await submitted_subject(api)
    clock.advance(1)
    async with work_notifications(api.resources) as committed:
        await post_callback(api, subject_id, legacy_callback(subject_id))
        assert await committed() == ["submit"]
    assert State(await state_of(api, subject_id)) is State.SUCCEEDED


async def test_reports_that_arrive_together_are_applied_in_the_order_of_the_providers_time(
    api: Api,
) -> None:
    subject_id = await submitted_subject(api)
    now = api.resources.clock()
    words = (("succeed", 2_000), ("processing", 1_000))
    callbacks = []
    for word, time in words:
        body = legacy_callback(subject_id, word, updated_at=time)
        headers = signed_headers(body, now, f"msg_{word}")
        callbacks.append(verify(api.resources, RawCallback("provider", None, headers, body, now)))
    results = await ingest.ingest(api.resources, callbacks)
    assert [result.verdict for result in results] == ["applied", "applied"]
    assert await api.event_types(subject_id) == ["queued", "submitted", "processing", "succeeded"]


async def test_many_transitions_at_once_share_log_lines_and_none_is_left_out(api: Api) -> None:
    tasks = [str(int(TASK_ID) + number) for number in range(MAX_LINE_ENTRIES + 1)]
    ids = [await submitted_subject(api, task) for task in tasks]
    now, callbacks = api.resources.clock(), []
    for id_, task in zip(ids, tasks, strict=True):
        body = legacy_callback(id_, task=task)
        raw = RawCallback("provider", None, signed_headers(body, now, f"msg_{task}"), body, now)
        callbacks.append(verify(api.resources, raw))
    with capture_logs() as lines:
        await ingest.ingest(api.resources, callbacks)
    assert [len(line["transitions"]) for line in lines] == [MAX_LINE_ENTRIES, 1]
    entries = [entry for line in lines for entry in line["transitions"]]
    assert sorted(entry["subject"] for entry in entries) == sorted(ids)
    assert {(entry["before"], entry["after"]) for entry in entries} == {("submitted", "succeeded")}
