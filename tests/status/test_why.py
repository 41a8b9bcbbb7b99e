"""GET of a subject that is not finished says why it waits: by its row as it is stored, and by what
was read of holds, workers and the provider within the last second."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from service.app import build
from service.kit.timestamps import format_rfc3339
from service.status.cache.conditions import ConditionsCache
from service.subjects.domain.lifecycle import TERMINAL, Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.why import MENDED_BY, WhyCode
from service.subjects.steps.transition import transition
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch
from tests.support.subjects import ERROR, subject_in_state
from tests.support.why import why_of, worker_listening

SECOND = timedelta(seconds=1)
# What is written beside a queued subject, and in how many seconds its `until` then is.
CASES: dict[WhyCode, tuple[str, float]] = {
    WhyCode.MEDIA_CHECK: (
        """UPDATE subjects SET media_lease_token = 'lse_1',
            media_check_at = $1::timestamptz + interval '9 s'""",
        9,
    ),
    WhyCode.MEDIA_RETRY: (
        """UPDATE subjects SET media_check_attempts = 1,
            media_check_at = $1::timestamptz + interval '5 s'""",
        5,
    ),
    WhyCode.RETRY_AT: (
        "UPDATE subjects SET attempts = 1, available_at = $1::timestamptz + interval '9 s'",
        9,
    ),
    WhyCode.PROVIDER_STOPPED: (
        """UPDATE provider_state SET stopped_code = 1102,
            next_probe_at = $1::timestamptz + interval '42 s'""",
        42,
    ),
    WhyCode.HELD: (
        """INSERT INTO holds (id, what, reason, until, created_at)
            VALUES ('hld_1', 'submissions', 'repair', $1::timestamptz + interval '60 s', $1)""",
        60,
    ),
    WhyCode.HELD_LEASE: (
        """UPDATE subjects SET state = 'submitting', attempts = 1, claimed_at = $1,
            lease_token = 'lse_1', lease_until = $1::timestamptz + interval '9 s'""",
        9,
    ),
    WhyCode.UNCONFIRMED_LOOK_UP: (
        """UPDATE subjects SET state = 'unconfirmed',
            next_poll_at = $1::timestamptz + interval '9 s'""",
        9,
    ),
    WhyCode.NEWS_DUE: (
        """UPDATE subjects SET state = 'processing',
            next_poll_at = $1::timestamptz + interval '9 s'""",
        9,
    ),
    WhyCode.DUE: ("SELECT $1::timestamptz", 1),
    WhyCode.DEADLINE_PASSED: ("UPDATE subjects SET deadline = $1", 1),
}


@pytest.fixture
async def worker(api: Api) -> AsyncIterator[None]:
    async with worker_listening(api.resources):
        yield


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("code", CASES)
async def test_a_subject_says_why_it_waits(api: Api, clock: Clock, code: WhyCode) -> None:
    made, now = await api.create(), clock()
    statement, seconds = CASES[code]
    await fetch(api.resources, statement, now)
    why = await why_of(api, f"/v1/subjects/{made['id']}")
    assert why.pop("text")
    assert why == {
        "code": code,
        "since": format_rfc3339(now),
        "until": format_rfc3339(now + seconds * SECOND),
        "mended_by": MENDED_BY[code],
    }


@pytest.mark.usefixtures("worker")
async def test_places_at_the_provider_and_turns_are_told_with_numbers(
    api: Api, clock: Clock
) -> None:
    ids = []
    for number in range(12):
        ids.append((await api.create(name=f"{number}"))["id"])
        clock.advance(1)
    parallel = api.resources.settings.provider_parallel
    await submit.claim(api.resources, parallel)
    why = await why_of(api, f"/v1/subjects/{ids[-1]}")
    assert why["code"] == "provider_slots"
    assert why["text"] == (
        "Waits for a place at the provider: 10 of 10 in use, 1 before it, about 1 s or more."
    )
    await transition(api.resources, ids[0], StatusUpdate(Signal.FAILED, error=ERROR))
    clock.advance(1)
    codes = [(await why_of(api, f"/v1/subjects/{id_}"))["code"] for id_ in ids[-2:]]
    assert codes == ["due", "account_turn"]


async def test_without_a_worker_that_is_what_it_waits_for(api: Api) -> None:
    made = await api.create()
    assert await why_of(api, f"/v1/subjects/{made['id']}") == {
        "code": "no_worker",
        "text": "No worker runs that sends it to the provider.",
        "since": made["created_at"],
        "until": None,
        "mended_by": "operator",
    }


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_what_is_finished_says_nothing_and_reads_no_conditions(
    api: Api, state: State
) -> None:
    path = f"/v1/subjects/{await subject_in_state(api, state)}"
    with executed_statements() as statements:
        assert "why" not in (await api.http.get(path)).json()
    assert not any("provider_state" in statement for statement in statements)


async def test_conditions_are_read_once_a_second_at_most(api: Api, clock: Clock) -> None:
    path = f"/v1/subjects/{await subject_in_state(api, State.PROCESSING)}"
    clock.advance(1)
    with executed_statements() as statements:
        for _ in range(3):
            assert (await why_of(api, path))["code"] == "news_due"
    assert len([statement for statement in statements if "provider_state" in statement]) == 1
    clock.advance(0.9)
    with executed_statements() as statements:
        await asyncio.gather(*(why_of(api, path) for _ in range(3)))
    assert all("FROM subjects" in statement for statement in statements)


async def test_neither_etag_nor_version_nor_events_know_why(api: Api, clock: Clock) -> None:
    made = await api.create()
    path = f"/v1/subjects/{made['id']}"
    before = await api.http.get(path)
    await fetch(api.resources, CASES[WhyCode.HELD][0], clock())
    clock.advance(1)
    after = await api.http.get(path)
    assert (before.json()["why"]["code"], after.json()["why"]["code"]) == ("no_worker", "held")
    assert before.headers["etag"] == after.headers["etag"]
    assert before.json()["version"] == after.json()["version"]
    known = {"if-none-match": before.headers["etag"]}
    assert (await api.http.get(path, headers=known)).status_code == 304
    events = (await api.http.get(f"{path}/events")).json()["data"]
    assert all("why" not in event["data"] for event in events)


async def test_lists_and_long_polls_say_why_too(api: Api) -> None:
    made = await api.create()
    canceled = await subject_in_state(api, State.CANCELED)
    shown = (await api.http.get("/v1/subjects")).json()["data"]
    codes = {entry["id"]: entry.get("why", {}).get("code") for entry in shown}
    assert codes == {made["id"]: "no_worker", canceled: None}
    wait = {"prefer": "wait=1", "if-none-match": '"another"'}
    answer = await api.http.get(f"/v1/subjects/{made['id']}", headers=wait)
    assert answer.json()["why"]["code"] == "no_worker"


@pytest.mark.usefixtures("worker")
async def test_a_list_and_each_of_its_subjects_say_the_same(api: Api) -> None:
    for _ in range(3):
        await api.create()
    settings = replace(api.resources.settings, provider_parallel=1)
    conditions = ConditionsCache(settings, api.resources.home)
    app = build(replace(api.resources, settings=settings, conditions=conditions))
    transport, headers = httpx.ASGITransport(app), api.http.headers
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://here", headers=headers) as http,
        app.state.batchers.open(),
    ):
        listed = (await http.get("/v1/subjects")).json()["data"]
        alone = [(await http.get(f"/v1/subjects/{entry['id']}")).json() for entry in listed]
    whys = [entry["why"] for entry in listed]
    assert whys == [entry["why"] for entry in alone]
    assert [why["code"] for why in whys] == ["account_turn", "account_turn", "due"]
