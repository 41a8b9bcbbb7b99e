"""A finished subject says until when it is kept, wherever its callers see it but in events; and
what would be kept for too short a time stops the start."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from service.app import build
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.domain.retention import kept_for
from service.settings import SettingError, Settings, read_settings
from tests.retention.test_prune_subjects import cancel
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body


async def shown(api: Api, body: dict[str, Any], subject_id: str) -> list[dict[str, Any]]:
    """A subject that this request made, wherever it is shown."""
    listed = (await api.http.get("/v1/subjects")).json()["data"]
    batch = await api.http.post("/v1/subjects/batch", json={"subjects": [body]})
    return [
        await api.read(subject_id),
        *listed,
        (await api.http.post("/v1/subjects", json=body)).json(),
        *(item["subject"] for item in batch.json()["data"]),
    ]


async def test_a_finished_subject_shows_until_when_it_is_kept(api: Api, clock: Clock) -> None:
    body = request_body(external_task_id="mine")
    made = (await api.http.post("/v1/subjects", json=body)).json()
    path = f"/v1/subjects/{made['id']}"
    assert all("kept_until" not in one for one in await shown(api, body, made["id"]))
    canceled = (await api.http.post(f"{path}/cancel")).json()
    days = api.resources.settings.retention_canceled_days
    until = format_rfc3339(clock() + timedelta(days=days))
    assert {one["kept_until"] for one in await shown(api, body, made["id"])} == {until}
    assert canceled["kept_until"] == until
    events = (await api.http.get(f"{path}/events")).json()["data"]
    assert all("kept_until" not in event["data"] for event in events)


async def test_what_is_kept_for_ever_says_null_under_the_same_etag(
    api: Api, resources: Resources
) -> None:
    path = f"/v1/subjects/{(await cancel(api))['id']}"
    before = await api.http.get(path)
    for_ever = replace(resources.settings, retention_canceled_days=0)
    async with http_server(build(replace(resources, settings=for_ever))) as address:
        after = await api.http.get(address + path)
    assert after.json() == before.json() | {"kept_until": None}
    assert after.headers["etag"] == before.headers["etag"]


def settings_of(environ: dict[str, str], **changes: str) -> Settings:
    return read_settings(environ | {f"CALLSHEET_{name}": text for name, text in changes.items()})


@pytest.mark.parametrize(
    ("changes", "refused", "floor", "why"),
    [
        ({"RETENTION_SUCCEEDED_DAYS": "3"}, "SUCCEEDED", 4, "DELIVERY_SCHEDULE"),
        ({"RETENTION_FAILED_DAYS": "1"}, "FAILED", 4, "DELIVERY_SCHEDULE"),
        ({"TASK_DEADLINE": "2592000"}, "CANCELED", None, ""),
        ({"TASK_DEADLINE": "432001", "RETENTION_CANCELED_DAYS": "5"}, "CANCELED", 6, "TASK_DEAD"),
        ({"TASK_DEADLINE": "86401", "RETENTION_CALLBACKS_DAYS": "1"}, "CALLBACKS", 2, "TASK_DEAD"),
        ({"DELIVERY_SCHEDULE": "86400", "RETENTION_FAILED_DAYS": "1"}, "FAILED", 2, "DELIVERY"),
        ({"DELIVERY_SCHEDULE": "1", "RETENTION_FAILED_DAYS": "1"}, "FAILED", None, ""),
        ({"RETENTION_CALLBACKS_DAYS": "1"}, "CALLBACKS", None, ""),
        ({"RETENTION_SUCCEEDED_DAYS": "0", "RETENTION_CALLBACKS_DAYS": "0"}, "", None, ""),
        ({"RETENTION_ANSWERS_DAYS": "1", "RETENTION_SNAPSHOT_DAYS": "1"}, "", None, ""),
    ],
)
async def test_what_would_be_needed_after_it_went_is_refused_by_name(
    environ: dict[str, str], changes: dict[str, str], refused: str, floor: int | None, why: str
) -> None:
    if floor is None:
        settings_of(environ, **changes)
        return
    with pytest.raises(SettingError) as error:
        settings_of(environ, **changes)
    assert f"CALLSHEET_RETENTION_{refused}_DAYS: must be at least {floor}, or 0" in str(error.value)
    assert why in str(error.value)


async def test_events_about_subscribers_are_kept_as_long_as_any_subject(settings: Settings) -> None:
    ages = kept_for(settings)
    assert ages[Kind.SUBSCRIBER_EVENTS] == ages[Kind.FAILED] == timedelta(days=180)
    for_ever = replace(settings, retention_canceled_days=0)
    assert kept_for(for_ever)[Kind.SUBSCRIBER_EVENTS] is None
