"""How long a request may take is its caller's to say, up to what the service allows."""

import pytest

from service.reconciliation.steps import expired_leases_and_deadlines
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.request_bodies import request_body


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)])
async def test_a_subject_fails_when_cancel_after_has_passed(
    api: Api, clock: Clock, text: str, seconds: int
) -> None:
    answer = await api.http.post(
        "/v1/subjects", json=request_body(), headers={"cancel-after": text}
    )
    assert answer.status_code == 202
    subject_id = answer.json()["id"]
    clock.advance(seconds - 0.001)
    await expired_leases_and_deadlines.sweep(api.resources)
    assert (await api.read(subject_id))["state"] == "queued"
    clock.advance(0.001)
    await expired_leases_and_deadlines.sweep(api.resources)
    ended = await api.read(subject_id)
    assert ended["state"] == "failed"
    assert ended["error"] == {
        "code": "deadline_exceeded",
        "message": f"not finished {seconds} s after acceptance",
    }


async def test_a_bad_cancel_after_is_refused(api: Api) -> None:
    for text in (b"", b"0", b"-1", b"1.5", b"soon", b"90 s", b"5d5", b"9" * 400, b"\xd9\xa1"):
        headers = {b"cancel-after": text}
        answer = await api.http.post("/v1/subjects", json=request_body(), headers=headers)
        assert answer.status_code == 422, text
        (error,) = answer.json()["errors"]
        assert error["code"] == "cancel_after"
        assert error["message"].startswith("Cancel-After ")
    assert not await fetch(api.resources, "SELECT id FROM subjects")


async def test_cancel_after_may_not_exceed_the_task_deadline(api: Api) -> None:
    longest = int(api.resources.settings.task_deadline)
    for seconds, status in ((longest, 202), (longest + 1, 422)):
        headers = {"cancel-after": str(seconds)}
        answer = await api.http.post("/v1/subjects", json=request_body(), headers=headers)
        assert answer.status_code == status


async def test_broken_headers_and_body_are_reported_at_once(api: Api) -> None:
    headers = {"cancel-after": "soon", "idempotency-key": "x" * 256}
    answer = await api.http.post(
        "/v1/subjects", json=request_body(element_name=""), headers=headers
    )
    codes = {error["code"] for error in answer.json()["errors"]}
    assert codes == {"cancel_after", "idempotency_key", "blank"}


async def test_a_repeated_request_keeps_the_first_cancel_after(api: Api) -> None:
    body = request_body(external_task_id="mine")
    for text, status in (("90", 202), ("300", 200)):
        answer = await api.http.post("/v1/subjects", json=body, headers={"cancel-after": text})
        assert answer.status_code == status
    (row,) = await fetch(api.resources, "SELECT deadline - created_at AS span FROM subjects")
    assert row["span"].total_seconds() == 90
