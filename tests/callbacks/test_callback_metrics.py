"""Callbacks are counted by source and verdict once they are durable, and not when they are verified
again."""

import json

import pytest

from service.callbacks.domain.verdicts import Verdict
from service.callbacks.steps import reverify
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, stored_callbacks, url_token
from tests.support.ingestion import post_callback, submitted_subject
from tests.support.metrics import MetricChanges, shown

CALLBACKS = "callbacks_total"
COMMITS = "callback_commit_seconds_count"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """One more source, that does not sign."""
    sources = json.dumps({"relay": {"scheme": "unsigned"}})
    return environ | {"CALLSHEET_CALLBACK_SOURCES": sources}


async def test_each_callback_counts_by_its_verdict_a_duplicate_too(api: Api) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id)
    changes = MetricChanges()
    assert await post_callback(api, subject_id, body) == "applied"
    assert await post_callback(api, subject_id, body) == "repeated"
    assert changes.of(CALLBACKS) == {("provider", "applied"): 1, ("provider", "repeated"): 1}
    assert changes.of(COMMITS) == {(): 2}


async def test_a_callback_of_a_source_nobody_configured_counts_as_of_another(api: Api) -> None:
    changes = MetricChanges()
    for source in ("relay", "strange", "stranger"):
        await api.http.post(f"/callbacks/{source}", content=legacy_callback(None))
    assert changes.of(CALLBACKS) == {("relay", "unknown"): 1, ("other", "rejected"): 2}


async def test_what_is_not_stored_is_not_counted(api: Api) -> None:
    changes = MetricChanges()
    answer = await api.http.post("/callbacks", content=b"x" * 1_000_001)
    assert answer.status_code == 413
    assert (changes.of(CALLBACKS), changes.of(COMMITS)) == ({}, {})


async def test_a_callback_that_is_verified_again_moves_its_subject_and_counts_once(
    api: Api,
) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id)
    wrong = signed_headers(body, api.resources.clock(), secret="whsec_" + "d3Jvbmch" * 4)
    path = f"/callbacks/{url_token(api.resources, subject_id)}"
    changes = MetricChanges()
    assert (await api.http.post(path, content=body, headers=wrong)).status_code == 401
    (stored,) = await stored_callbacks(api)
    with pytest.raises(Exception, match="signature"):
        await reverify.reverify(api.resources, stored["id"])
    assert changes.of(CALLBACKS) == {("provider", "rejected"): 1}
    assert changes.of("subject_transitions_total") == {}


async def test_every_verdict_of_every_source_is_shown_from_the_start(api: Api) -> None:
    known = set(api.resources.settings.callback_sources) | {"other"}
    series = {(source, verdict.value) for source in known for verdict in Verdict}
    assert series <= set(shown(CALLBACKS))
