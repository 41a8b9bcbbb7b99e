"""A callback of an unknown task is applied once the task is known."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.typing import EventDict

from service.accounts.domain.scopes import SCOPES
from service.callbacks.steps import reverify
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.callbacks import (
    TASK_ID,
    current_callback,
    legacy_callback,
    signed_headers,
    stored_callbacks,
)
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.ingestion import submitted_subject
from tests.support.simulator import SimulatorClient
from tests.support.work import work_notifications

POISON = """
    CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN
        IF NEW.verdict <> 'unknown' AND NEW.task_id = '1' THEN RAISE EXCEPTION 'poison'; END IF;
        RETURN NEW;
    END$$
"""
ON_CALLBACKS = (
    "CREATE TRIGGER poison BEFORE INSERT ON callbacks FOR EACH ROW EXECUTE FUNCTION poison()"
)


@pytest.fixture
def scopes() -> Sequence[str]:
    """An operator's, beside those of its account."""
    return SCOPES


async def test_a_callback_for_a_task_nobody_knew_is_applied_once_the_task_is_known(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": True})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    task = (await api.read(subject_id))["provider_task_id"]
    undone = "UPDATE subjects SET provider_task_id = NULL RETURNING id"  # as before the answer came
    await fetch(api.resources, undone)
    body = current_callback(None, task=task)
    answer = await api.http.post(
        "/callbacks", content=body, headers=signed_headers(body, api.resources.clock())
    )
    assert answer.json() == {"verdict": "unknown"}
    await api.work(Work.SUBMIT)
    assert (await api.read(subject_id))["state"] == "submitted", "nobody knows that task yet"
    done = "UPDATE subjects SET provider_task_id = $1 RETURNING id"
    await fetch(api.resources, done, task)
    await api.work(Work.SUBMIT)
    assert (await api.read(subject_id))["state"] == "succeeded"
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["subject_id"], row["times_received"]) == ("applied", subject_id, 1)
    assert await api.violations() == []


async def post_unknown(
    api: Api, task: str, message_id: str, status: str = "succeed", **changes: object
) -> None:
    body = legacy_callback(None, status, task=task, **changes)
    headers = signed_headers(body, api.resources.clock(), message_id)
    answer = await api.http.post("/callbacks", content=body, headers=headers)
    assert answer.json() == {"verdict": "unknown"}


async def verdicts(api: Api) -> dict[str, str]:
    return {row["dedup_key"]: row["verdict"] for row in await stored_callbacks(api)}


async def test_one_that_came_more_than_an_hour_before_is_not_applied(
    api: Api, clock: Clock
) -> None:
    await post_unknown(api, TASK_ID, "old")
    clock.advance(reverify.MAX_UNMATCHED_AGE.total_seconds())
    await post_unknown(api, "2", "young")
    clock.advance(0.001)
    subject_ids = [await submitted_subject(api, TASK_ID), await submitted_subject(api, "2")]
    await reverify.reverify_unmatched(api.resources)
    assert await verdicts(api) == {"old": "unknown", "young": "applied"}
    assert [(await api.read(subject_id))["state"] for subject_id in subject_ids] == [
        "submitted",
        "succeeded",
    ]


async def test_unmatched_callbacks_are_applied_in_the_order_of_the_providers_time(api: Api) -> None:
    await post_unknown(api, TASK_ID, "second", updated_at=2000)
    await post_unknown(api, TASK_ID, "first", "processing", updated_at=1000)
    subject_id = await submitted_subject(api, TASK_ID)
    await reverify.reverify_unmatched(api.resources)
    assert await verdicts(api) == {"second": "applied", "first": "applied"}
    assert await api.event_types(subject_id) == ["queued", "submitted", "processing", "succeeded"]


async def test_workers_that_verify_the_same_again_at_once_apply_it_once(api: Api) -> None:
    for number in range(4):
        await post_unknown(api, str(number + 1), f"msg_{number}")
    subject_ids = [await submitted_subject(api, str(number + 1)) for number in range(4)]
    await asyncio.gather(*(reverify.reverify_unmatched(api.resources) for _ in range(4)))
    assert set((await verdicts(api)).values()) == {"applied"}
    assert {row["times_received"] for row in await stored_callbacks(api)} == {1}
    for subject_id in subject_ids:
        assert await api.event_types(subject_id) == ["queued", "submitted", "succeeded"]


async def test_a_fault_in_one_does_not_keep_the_others_from_being_applied(
    api: Api, logged: list[EventDict]
) -> None:
    await post_unknown(api, "1", "bad")
    await post_unknown(api, "2", "good")
    subject_ids = [await submitted_subject(api, "1"), await submitted_subject(api, "2")]
    await fetch(api.resources, POISON)
    await fetch(api.resources, ON_CALLBACKS)
    await reverify.reverify_unmatched(api.resources)
    assert await verdicts(api) == {"bad": "unknown", "good": "applied"}
    assert [(await api.read(subject_id))["state"] for subject_id in subject_ids] == [
        "submitted",
        "succeeded",
    ]
    (fault,) = [line for line in logged if line.get("action") == "fault"]
    logged.remove(fault)


async def test_an_unsigned_one_that_matches_later_has_the_provider_asked(api: Api) -> None:
    await post_unknown(api, TASK_ID, "msg_1")
    await fetch(api.resources, "UPDATE callbacks SET verification = 'none' RETURNING id")
    subject_id = await submitted_subject(api, TASK_ID)
    async with work_notifications(api.resources) as committed:
        await reverify.reverify_unmatched(api.resources)
        assert await committed() == ["reconcile"]
    assert await verdicts(api) == {"msg_1": "hint"}
    assert (await api.read(subject_id))["state"] == "submitted"


@pytest.mark.parametrize(("verification", "expected"), [("signed", "applied"), ("none", "hint")])
async def test_an_unknown_one_may_be_decided_again_on_demand(
    api: Api, verification: str, expected: str, clock: Clock
) -> None:
    await post_unknown(api, TASK_ID, "msg_1")
    (row,) = await fetch(
        api.resources, "UPDATE callbacks SET verification = $1 RETURNING id", verification
    )
    path = f"/v1/callbacks/{row['id']}/reverify"
    answer = await api.http.post(path)
    assert (answer.status_code, answer.json()["verdict"]) == (200, "unknown")
    clock.advance(7200)
    await submitted_subject(api, TASK_ID)
    assert (await api.http.post(path)).json()["verdict"] == expected
    answer = await api.http.post(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_rejected")
    assert answer.json()["verdict"] == expected
