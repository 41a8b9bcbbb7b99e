"""Callbacks are stored and applied once, whatever their order, number and claims."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from service.callbacks.domain.callback import Callback, RawCallback
from service.callbacks.steps import ingest
from service.callbacks.steps.apply import CallbackResult
from service.callbacks.steps.verify import verify
from service.job_queue import Work
from service.kit.concurrency.batcher import Batcher
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.callbacks import (
    ELEMENT_ID,
    TASK_ID,
    current_callback,
    legacy_callback,
    signed_headers,
    stored_callbacks,
    url_token,
)
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.simulator import SimulatorClient

COPIES = 46
OTHER_TASK = "880000000000000002"
OUT_OF_ORDER = (  # what comes first, what then, and what that is
    ("succeed", "processing", "late"),
    ("succeed", "submitted", "late"),
    ("processing", "submitted", "late"),
    ("processing", "processing", "repeated"),
    ("succeed", "failed", "anomaly"),
    ("failed", "succeed", "anomaly"),
)


async def call_back(
    api: Api, subject_id: str | None, body: bytes, message_id: str = "msg_1", **changes: str
) -> httpx.Response:
    """Post it, signed, to the subject's address, or to that of none."""
    path = "" if subject_id is None else f"/{url_token(api.resources, subject_id)}"
    headers = signed_headers(body, api.resources.clock(), message_id) | changes
    return await api.http.post(f"/callbacks{path}", content=body, headers=headers)


async def verdict(api: Api, subject_id: str | None, body: bytes, message_id: str = "msg_1") -> str:
    answer = await call_back(api, subject_id, body, message_id)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["verdict"])


async def submitted(api: Api, task: str = TASK_ID) -> str:
    """The id of a subject that the provider has."""
    subject_id: str = (await api.create())["id"]
    await transition(
        api.resources, subject_id, StatusUpdate(Signal.SUBMITTED, provider_task_id=task)
    )
    return subject_id


async def state(api: Api, subject_id: str) -> str:
    return str((await api.read(subject_id))["state"])


@pytest.mark.parametrize("write", [legacy_callback, current_callback])
async def test_callbacks_of_either_shape_walk_a_subject_to_its_end(api: Api, write: Any) -> None:  # noqa: ANN401
    subject_id = (await api.create())["id"]
    for number, word in enumerate(("submitted", "processing", "succeed")):
        assert await verdict(api, subject_id, write(subject_id, word), f"msg_{number}") == "applied"
    subject = await api.read(subject_id)
    assert (subject["state"], subject["provider_task_id"]) == ("succeeded", TASK_ID)
    assert subject["subject"]["element_id"] == ELEMENT_ID
    types = ["queued", "submitted", "processing", "succeeded"]
    assert await api.event_types(subject_id) == types


async def test_a_failure_carries_the_providers_words(api: Api) -> None:
    subject_id = await submitted(api)
    body = legacy_callback(subject_id, "failed", task_status_msg="no face was found")
    assert await verdict(api, subject_id, body) == "applied"
    error = (await api.read(subject_id))["error"]
    assert error == {"code": "provider_failed", "message": "no face was found"}


async def test_copies_that_come_at_once_are_applied_once_and_counted(api: Api) -> None:
    subject_id = await submitted(api)
    body = legacy_callback(subject_id)
    copies = (verdict(api, subject_id, body) for _ in range(COPIES))
    assert Counter(await asyncio.gather(*copies)) == {"applied": 1, "repeated": COPIES - 1}
    (row,) = await stored_callbacks(api)
    assert (row["times_received"], row["verdict"], row["body"]) == (COPIES, "applied", body)
    assert await api.event_types(subject_id) == ["queued", "submitted", "succeeded"]


async def test_the_same_report_under_other_ids_is_applied_once_and_all_stored(api: Api) -> None:
    subject_id = await submitted(api)
    body = legacy_callback(subject_id)
    messages = (verdict(api, subject_id, body, f"msg_{number}") for number in range(9))
    assert Counter(await asyncio.gather(*messages)) == {"applied": 1, "repeated": 8}
    assert len(await stored_callbacks(api)) == 9


async def test_what_comes_late_or_contradicts_is_stored_and_changes_nothing(api: Api) -> None:
    for number, (first, then, expected) in enumerate(OUT_OF_ORDER):
        subject_id = await submitted(api, str(number))
        messages = [f"{number}_1", f"{number}_2"]
        body = legacy_callback(subject_id, first, str(number))
        assert await verdict(api, subject_id, body, messages[0]) == "applied"
        before = await api.read(subject_id)
        body = legacy_callback(subject_id, then, str(number))
        assert await verdict(api, subject_id, body, messages[1]) == expected
        assert await api.read(subject_id) == before
        verdicts = {row["dedup_key"]: row["verdict"] for row in await stored_callbacks(api)}
        assert [verdicts[message] for message in messages] == ["applied", expected]
    assert await api.violations() == []


async def test_a_callback_for_a_canceled_subject_is_an_anomaly(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    assert await verdict(api, subject_id, legacy_callback(subject_id)) == "anomaly"
    assert await state(api, subject_id) == "canceled"


async def test_a_callback_that_overtakes_the_answer_to_our_own_call_wins(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": True})
    subject_id = (await api.create())["id"]
    (claimed,) = await submit.claim(api.resources, 1)
    assert await state(api, subject_id) == "submitting"
    assert await verdict(api, subject_id, legacy_callback(subject_id)) == "applied"
    await submit.submit(api.resources, claimed)
    subject = await api.read(subject_id)
    assert (subject["state"], subject["provider_task_id"]) == ("succeeded", TASK_ID)
    assert await api.event_types(subject_id) == ["queued", "succeeded"]
    assert await api.violations() == []


async def test_a_body_that_names_another_subject_than_its_address_moves_neither(api: Api) -> None:
    first, second = await submitted(api), await submitted(api, OTHER_TASK)
    assert await verdict(api, first, legacy_callback(second)) == "mismatch"
    assert await verdict(api, first, legacy_callback(first, task=OTHER_TASK), "msg_2") == "mismatch"
    assert await verdict(api, first, legacy_callback(None, task=OTHER_TASK), "msg_3") == "mismatch"
    assert [await state(api, subject_id) for subject_id in (first, second)] == ["submitted"] * 2
    assert {row["subject_id"] for row in await stored_callbacks(api)} == {first}


@pytest.mark.parametrize("named", [True, False])
async def test_a_body_that_names_another_subjects_task_moves_neither(
    api: Api, *, named: bool
) -> None:
    await submitted(api, TASK_ID)
    early = (await api.create())["id"]
    body = legacy_callback(early if named else None, task=TASK_ID)
    assert await verdict(api, early, body) == "mismatch"
    assert await state(api, early) == "queued"


async def test_a_callback_about_nothing_we_know_is_stored(api: Api) -> None:
    nobody = "sub_00000000000000000000000000"
    assert await verdict(api, nobody, legacy_callback(nobody)) == "unknown"
    test_message = current_callback(None, "submitted", outputs=[])
    assert await verdict(api, None, test_message, "msg_2") == "unknown"
    assert await verdict(api, None, legacy_callback(nobody), "msg_3") == "unknown"
    rows = await stored_callbacks(api, order="dedup_key")
    assert [row["subject_id"] for row in rows] == [nobody, None, None]


@pytest.mark.parametrize("by", ["external id", "task"])
async def test_a_signed_callback_at_the_common_address_is_applied(api: Api, by: str) -> None:
    subject_id = await submitted(api)
    body = legacy_callback(subject_id if by == "external id" else None)
    assert await verdict(api, None, body) == "applied"
    assert await state(api, subject_id) == "succeeded"


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
        await verdict(api, subject_id, legacy_callback(subject_id, task=task, **changes))
        == "parked"
    )
    assert await state(api, subject_id) == "submitted"
    await api.work(Work.RECONCILE)
    assert await state(api, subject_id) == "succeeded"
    (row,) = await stored_callbacks(api)
    assert "nothing can be made of the status" in row["reason"]


async def test_a_parked_callback_at_the_common_address_has_the_provider_asked_too(
    api: Api,
) -> None:
    subject_id = await submitted(api)
    assert await verdict(api, None, legacy_callback(subject_id, "thinking")) == "parked"
    (row,) = await fetch(api.resources, "SELECT next_poll_at FROM subjects")
    assert row["next_poll_at"] <= api.resources.clock()


async def test_the_place_of_an_ended_subject_goes_to_the_next(api: Api, clock: Clock) -> None:
    woken: list[Work] = []
    api.resources.worker_notifier.listen(woken.append)
    subject_id = await submitted(api)
    woken.clear()
    clock.advance(1)
    await verdict(api, subject_id, legacy_callback(subject_id))
    assert woken == [Work.SUBMIT]
    assert State(await state(api, subject_id)) is State.SUCCEEDED


async def test_a_message_that_nothing_was_made_of_may_come_to_something_when_it_comes_again(
    api: Api,
) -> None:
    body = legacy_callback(None, task=TASK_ID)
    assert await verdict(api, None, body) == "unknown"
    subject_id = await submitted(api)
    assert await verdict(api, None, body) == "applied"
    assert await verdict(api, None, body) == "repeated"
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["reason"], row["times_received"]) == ("applied", None, 3)
    assert row["subject_id"] == subject_id
    assert await state(api, subject_id) == "succeeded"


async def test_a_message_that_went_astray_is_applied_at_its_own_address(api: Api) -> None:
    other_id, subject_id = await submitted(api, OTHER_TASK), await submitted(api)
    body = legacy_callback(subject_id)
    assert await verdict(api, other_id, body) == "mismatch"
    assert await verdict(api, subject_id, body) == "applied"
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["subject_id"], row["times_received"]) == ("applied", subject_id, 2)
    assert await state(api, other_id) == "submitted"


async def test_the_same_words_at_the_same_time_are_one_whatever_the_message_is_called(
    api: Api,
) -> None:
    """A contradiction that comes twice is one contradiction."""
    subject_id = await submitted(api)
    good = legacy_callback(subject_id, updated_at=1_781_080_794_151)
    bad = legacy_callback(subject_id, "failed", updated_at=1_781_080_794_152)
    later = legacy_callback(subject_id, "failed", updated_at=1_781_080_794_153)
    messages = [good, good, bad, bad, later]
    verdicts = [
        await verdict(api, subject_id, body, f"msg_{at}") for at, body in enumerate(messages)
    ]
    assert verdicts == ["applied", "repeated", "anomaly", "repeated", "anomaly"]
    rows = await stored_callbacks(api, order="dedup_key")
    assert [row["verdict"] for row in rows] == verdicts
    assert await state(api, subject_id) == "succeeded"


async def test_other_bytes_under_the_id_of_a_message_are_stored_and_decided_by_themselves(
    api: Api,
) -> None:
    """Whatever was answered with success is in the table to the letter."""
    subject_id = await submitted(api)
    bodies = [legacy_callback(subject_id, word) for word in ("processing", "succeed", "failed")]
    verdicts = [await verdict(api, subject_id, body) for body in (*bodies, *bodies)]
    assert verdicts[:3] == ["applied", "applied", "anomaly"]
    assert verdicts[3] == "repeated"
    rows = await stored_callbacks(api)
    assert sorted(row["body"] for row in rows) == sorted(bodies)
    assert [row["times_received"] for row in rows] == [2, 2, 2]
    assert {row["dedup_key"].partition("#")[0] for row in rows} == {"msg_1"}
    assert await state(api, subject_id) == "succeeded"


async def test_reports_that_arrive_together_are_applied_in_the_order_of_the_providers_time(
    api: Api,
) -> None:
    subject_id = await submitted(api)
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


async def test_a_copy_that_went_astray_in_the_same_batch_does_no_harm(api: Api) -> None:
    other_id, subject_id = await submitted(api, OTHER_TASK), await submitted(api)
    now, body = api.resources.clock(), legacy_callback(subject_id)
    callbacks = [
        verify(
            api.resources,
            RawCallback(
                "provider",
                url_token(api.resources, addressed_id),
                signed_headers(body, now),
                body,
                now,
            ),
        )
        for addressed_id in (other_id, subject_id, subject_id)
    ]
    results = await ingest.ingest(api.resources, callbacks)
    assert [result.verdict for result in results] == ["mismatch", "applied", "repeated"]
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["subject_id"], row["times_received"]) == ("applied", subject_id, 3)


async def test_other_bytes_under_the_same_id_at_the_same_moment_are_stored_too(api: Api) -> None:
    """Neither sees the other before it is committed."""
    now, bodies = (
        api.resources.clock(),
        [legacy_callback(None, task=task) for task in (TASK_ID, OTHER_TASK)],
    )
    first, second = (
        verify(api.resources, RawCallback("provider", None, signed_headers(body, now), body, now))
        for body in bodies
    )

    async def store(batch: Sequence[Callback]) -> Sequence[CallbackResult]:
        return await ingest.ingest(api.resources, batch)

    async with Batcher(store) as batcher:
        async with api.resources.database.transaction() as tx:
            await ingest.store_and_apply(tx, api.resources, [first])
            later = asyncio.create_task(batcher.submit(second))
            await wait_until_blocked(api.resources)
        assert (await later).verdict == "unknown"
    assert sorted(row["body"] for row in await stored_callbacks(api)) == sorted(bodies)
