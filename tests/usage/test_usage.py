"""GET /v1/usage: by day, reference type and outcome, of the caller's own account, exactly."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.jobs import create_subject
from service.kit.errors import Unavailable
from service.resources import Resources
from service.usage.steps import refusals
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers
from tests.support.database import fetch
from tests.support.request_bodies import request_body


async def end(api: Api, status: str, number: int, units: str, at: str) -> None:
    """Create a subject, which the provider ends, and move its end to this moment."""
    subject_id = (await api.create())["id"]
    body = legacy_callback(subject_id, status, str(number), final_unit_deduction=units)
    headers = signed_headers(body, api.resources.clock(), f"msg_{number}")
    assert (await api.http.post("/callbacks", content=body, headers=headers)).status_code == 200
    await fetch(
        api.resources,
        "UPDATE subjects SET finished_at = CAST(CAST($2 AS text) AS timestamptz) WHERE id = $1",
        subject_id,
        at,
    )


def row(day: str, outcome: str, **changes: object) -> dict[str, Any]:
    made = {"day": day, "reference_type": "image_refer", "outcome": outcome, "count": 1}
    return made | {"units": "0", "units_unknown": 0, "creates_saved": 0} | changes


async def read(api: Api, **params: str) -> dict[str, Any]:
    answer = await api.http.get("/v1/usage", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_day_is_one_of_utc_from_its_first_moment_to_before_the_next(api: Api) -> None:
    await end(api, "succeed", 1, "0.1", "2026-10-31T23:59:59.999999Z")
    await end(api, "succeed", 2, "0.2", "2026-11-01T00:00:00Z")
    await end(api, "succeed", 3, "999999999999999.999999999", "2026-11-01T23:59:59.999Z")
    await end(api, "failed", 4, "1.10", "2026-11-02T02:00:00+03:00")
    await end(api, "succeed", 5, "x", "2026-11-02T00:00:00Z")
    found = await read(api, **{"from": "2026-11-01", "to": "2026-11-02"})
    assert found["data"] == [
        row("2026-11-01", "failed", units="1.1"),
        row("2026-11-01", "succeeded", count=2, units="1000000000000000.199999999"),
    ]
    assert found["totals"] == {
        "count": 3,
        "units": "1000000000000001.299999999",
        "units_unknown": 0,
        "creates_saved": 0,
    }
    assert (found["from"], found["to"]) == ("2026-11-01", "2026-11-02")
    after = await read(api, **{"from": "2026-11-02", "to": "2026-11-03"})
    assert after["data"] == [row("2026-11-02", "succeeded", units_unknown=1)]


async def test_what_is_refused_is_counted_with_those_whose_media_are_bad(api: Api) -> None:
    day = api.resources.clock().date().isoformat()
    bad = request_body(element_name="x" * 500)
    assert (await api.http.post("/v1/subjects", json=bad)).status_code == 422
    assert (await api.http.post("/v1/subjects", json={"a": 1})).status_code == 422
    good = request_body()
    batch = {"subjects": [bad, good, {"reference_type": ["video_refer"]}]}
    assert (await api.http.post("/v1/subjects/batch", json=batch)).status_code == 207
    assert (await api.http.post("/v1/subjects/batch", json={"subjects": []})).status_code == 422
    assert "error" in await create_subject(api.resources, {"job_id": "1"}, "acme", bad)
    compat = await api.http.post("/v1/general/advanced-custom-elements", json=bad)
    assert compat.status_code == 400
    (subject,) = (await api.http.get("/v1/subjects")).json()["data"]
    await fetch(
        api.resources,
        "UPDATE subjects SET state = 'failed', error = $1, finished_at = $2 WHERE id = $3",
        '{"code": "media_format", "message": "no"}',
        api.resources.clock(),
        subject["id"],
    )
    assert (await read(api))["data"] == [
        row(day, "refused", reference_type=None, count=3),
        row(day, "refused", count=5),
    ]


async def test_what_is_erased_stays_in_the_bill(api: Api) -> None:
    await end(api, "succeed", 1, "0.1", "2026-11-01T12:00:00Z")
    await end(api, "failed", 2, "0.2", "2026-11-01T12:00:00Z")
    media = '{"code": "media_format", "message": "no"}'
    refused = "UPDATE subjects SET error = $1, provider_task_id = NULL WHERE state = 'failed'"
    await fetch(api.resources, refused, media)
    window = {"from": "2026-11-01", "to": "2026-11-02"}
    before = (await read(api, **window))["data"]
    assert [line["outcome"] for line in before] == ["refused", "succeeded"]
    for subject in (await api.http.get("/v1/subjects")).json()["data"]:
        assert (await api.http.delete(f"/v1/subjects/{subject['id']}")).status_code == 200
    assert (await read(api, **window))["data"] == before


async def test_counts_that_cannot_be_stored_are_kept_for_the_next_time(
    api: Api, resources: Resources
) -> None:
    await api.http.post("/v1/subjects", json={})
    await fetch(resources, "ALTER TABLE refusals RENAME TO away")
    with pytest.raises(Unavailable):
        await refusals.store(resources)
    await fetch(resources, "ALTER TABLE away RENAME TO refusals")
    for _ in range(2):
        await refusals.store(resources)
        assert (await read(api))["totals"]["count"] == 1


async def test_a_window_that_is_none_is_refused_by_the_name_of_its_field(api: Api) -> None:
    answer = await api.http.get("/v1/usage", params={"from": "yesterday", "day": "1"})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/from", "/day"]


async def other_account(api: Api, scopes: Sequence[str]) -> httpx.AsyncClient:
    key = await api_keys.create(api.resources, "=cmd", scopes)
    return httpx.AsyncClient(
        base_url=api.http.base_url,
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
    )


async def test_no_account_sees_rows_of_another_and_an_operator_sees_all_by_name(api: Api) -> None:
    await end(api, "succeed", 1, "1", "2026-11-01T12:00:00Z")
    await api.http.post("/v1/subjects", json={})
    window = {"from": "2026-11-01", "to": "2026-11-02"}
    async with await other_account(api, ["subjects:read", "subjects:write"]) as other:
        await other.post("/v1/subjects", json={})
        assert (await other.get("/v1/usage", params=window)).json()["data"] == []
        own = (await other.get("/v1/usage")).json()["totals"]
        assert own["count"] == 1
        assert (await other.get("/v1/usage?account=acme")).status_code == 403
        csv_text = (await other.get("/v1/usage", headers={"accept": "text/csv"})).text
        assert csv_text.startswith("day,reference_type,outcome,count,units,")
    async with await other_account(api, SCOPES) as operator:
        answer = await operator.get("/v1/usage", headers={"accept": "text/csv"})
        names = {line["account"] for line in csv.DictReader(io.StringIO(answer.text))}
        assert names == {"acme", "'=cmd"}
        assert answer.headers["content-type"].startswith("text/csv")
        one = (await operator.get("/v1/usage", params=window | {"account": "acme"})).json()
        assert one["data"] == [row("2026-11-01", "succeeded", units="1", account="acme")]
        assert (await operator.get("/v1/usage?account=nobody")).status_code == 422
