"""One subject, read again and again: what has changed since, its place in the queue, and when to
come back."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.kit.http.headers import Headers
from service.status.steps import read as status_read
from service.status.web.conditional import parse_if_none_match, retry_after
from service.subjects.domain.lifecycle import TERMINAL, Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.subjects.store import subjects
from service.submission.steps import submit
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, query_plan, table_scans
from tests.support.request_bodies import request_body
from tests.support.subjects import make_subject, subject_in_state

BACKWARDS = tuple(reversed(State))  # else what is left in the queue would be claimed for the next


async def request_subject(
    api: Api, subject_id: str, *, method: str = "GET", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.http.request(method, f"/v1/subjects/{subject_id}", headers=named)


async def tag(api: Api, subject_id: str) -> str:
    return (await request_subject(api, subject_id)).headers["etag"]


async def test_each_state_has_a_tag_of_its_own(api: Api) -> None:
    tags = [await tag(api, await subject_in_state(api, state)) for state in BACKWARDS]
    assert len(set(tags)) == len(State)
    assert all(tag.startswith('W/"') for tag in tags)


async def test_what_returns_to_a_state_does_not_return_to_its_tag(api: Api) -> None:
    subject_id = (await api.create())["id"]
    tags = [await tag(api, subject_id)]
    ways = ([Signal.DEFERRED], [Signal.LOST, Signal.ABSENT], [Signal.LOST, Signal.SUBMITTED])
    for way in ways:
        assert await submit.claim(api.resources, 1)
        tags.append(await tag(api, subject_id))
        for signal in way:
            update = StatusUpdate(
                signal, provider_task_id="1" if signal is Signal.SUBMITTED else None
            )
            await transition(api.resources, subject_id, update)
            tags.append(await tag(api, subject_id))
    assert len(set(tags)) == len(tags) == 9


async def test_neither_age_nor_place_changes_the_tag(api: Api, clock: Clock) -> None:
    first = (await api.create())["id"]
    clock.advance(1)
    second = (await api.create())["id"]
    before = await request_subject(api, second)
    clock.advance(50)
    await api.http.post(f"/v1/subjects/{first}/cancel")
    after = await request_subject(api, second)
    assert before.json()["queue"] == {"position": 2, "age_seconds": 0}
    assert after.json()["queue"] == {"position": 1, "age_seconds": 50}
    assert before.headers["etag"] == after.headers["etag"]


async def test_a_caller_that_has_it_already_is_sent_no_body(api: Api) -> None:
    subject_id = (await api.create())["id"]
    whole = await request_subject(api, subject_id)
    again = await request_subject(api, subject_id, if_none_match=whole.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert "content-length" not in again.headers
    assert "content-type" not in again.headers
    for name in ("etag", "cache-control", "retry-after"):
        assert again.headers[name] == whole.headers[name]
    assert whole.headers["cache-control"] == "private, no-cache"
    await submit.claim(api.resources, 1)
    changed = await request_subject(api, subject_id, if_none_match=whole.headers["etag"])
    assert (changed.status_code, changed.json()["state"]) == (200, "submitting")


OURS = "1-queued-0"
MATCHING = [
    ['W/"1-queued-0"'],
    ['"1-queued-0"'],
    ["*"],
    [" * "],
    ['"other" , W/"1-queued-0"'],
    [',, "a,b" ,\tW/"1-queued-0",'],
    ['"back\\", W/"1-queued-0"'],
    ['"other"', 'W/"1-queued-0"'],
    ['nonsense, "1-queued-0"'],
    ['"\xff", "1-queued-0"'],
    ['W/"1-queued-0-gzip"'],
    ['"1-queued-0-br"'],
    ['"1-queued-0"-gzip'],
    ['"other-gzip", W/"1-queued-0"-zstd'],
]
OTHER = [
    [],
    [""],
    ["1-queued-0"],
    ['w/"1-queued-0"'],
    ['W/ "1-queued-0"'],
    ['x"1-queued-0"'],
    ['"1-queued-0"x'],
    ['"1-queued-0'],
    ['"1-queued-0 "'],
    ['"1-QUEUED-0"'],
    ['"1-queued-0-lzma"'],
    ['"1-queued-0gzip"'],
    ['"1-queued-0-gzip-br"'],
    ['"' + "-gzip" * 12_000 + '"'],
    ['"*"'],
    ['*, "a"'],
    ["*", "*"],
    ['"' * 60_001],
    ["," * 60_001],
    [" " * 60_001 + "x"],
]


@pytest.mark.parametrize("lines", MATCHING)
def test_tags_are_compared_weakly(lines: list[str]) -> None:
    assert parse_if_none_match(header("if-none-match", lines)).matches_subject(make_subject())


@pytest.mark.parametrize("lines", OTHER)
def test_what_is_not_its_tag_is_something_else(lines: list[str]) -> None:
    assert not parse_if_none_match(header("if-none-match", lines)).matches_subject(make_subject())


def header(name: str, lines: Sequence[str]) -> Headers:
    return Headers([(name.encode(), line.encode("latin-1")) for line in lines])


async def test_a_head_says_the_same_without_the_body(api: Api) -> None:
    subject_id = (await api.create())["id"]
    whole, head = [
        await request_subject(api, subject_id, method=method) for method in ("GET", "HEAD")
    ]
    assert head.content == b""
    own = {"date": "", "x-request-id": ""}  # each response has its own
    assert {**head.headers, **own} == {**whole.headers, **own}
    had_it = await request_subject(
        api, subject_id, method="HEAD", if_none_match=whole.headers["etag"]
    )
    assert had_it.status_code == 304


async def test_what_goes_on_says_when_to_come_back_and_what_has_ended_does_not(api: Api) -> None:
    for state in BACKWARDS:
        answer = await request_subject(api, await subject_in_state(api, state))
        assert ("retry-after" in answer.headers) == (state not in TERMINAL), state


async def test_the_older_it_is_the_later_one_comes_back(api: Api, clock: Clock) -> None:
    subject_id = (await api.create())["id"]
    delays = []
    for seconds in (0, 19, 1, 100, 180, 86_400):
        clock.advance(seconds)
        delays.append((await request_subject(api, subject_id)).headers["retry-after"])
    assert delays == ["1", "1", "2", "12", "30", "30"]
    clock.advance(-90_000)  # another process's clock was ahead
    assert (await request_subject(api, subject_id)).headers["retry-after"] == "1"
    assert (await api.read(subject_id))["queue"]["age_seconds"] == 0


def test_the_bounds_of_coming_back_are_kept_at_any_age() -> None:
    assert [retry_after(age) for age in (-1e9, 0, 299.9, 300, 1e12)] == [1, 1, 29, 30, 30]


async def test_a_place_counts_what_is_queued_before_it_in_its_own_account(
    api: Api, clock: Clock
) -> None:
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    other = {"authorization": f"Bearer {key}"}
    await api.http.post("/v1/subjects", json=request_body(), headers=other)
    made = []
    for _ in range(4):
        made.append((await api.create())["id"])
        clock.advance(1)
    assert await positions(api, made) == [1, 2, 3, 4]
    await submit.claim(api.resources, 2)  # one of each account: they take turns
    assert await positions(api, made) == [None, 1, 2, 3]
    later = StatusUpdate(Signal.DEFERRED, retry_at=clock() + timedelta(hours=1))
    await transition(api.resources, made[0], later)
    assert await positions(api, made) == [4, 1, 2, 3], "in the order in which they are claimed"


async def positions(api: Api, ids: Sequence[str]) -> list[int | None]:
    queues = [(await api.read(id_)).get("queue") for id_ in ids]
    return [queue and queue["position"] for queue in queues]


async def test_only_what_is_queued_has_a_place(api: Api) -> None:
    for state in BACKWARDS:
        body = await api.read(await subject_in_state(api, state))
        assert ("queue" in body) == (state is State.QUEUED)


async def test_places_that_are_asked_for_together_are_those_asked_for_one_by_one(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_read, "MAX_POSITION", 8)
    for number in range(12):
        await api.create()
        clock.advance(number % 3)  # several of one moment, which their ids put in order
    async with api.resources.database.transaction() as tx:
        account = (await api.http.get("/v1/subjects")).json()["data"]
        asked = [found for row in account if (found := await subjects.get(tx, row["id"]))]
    asked[3:3] = [make_subject(state=State.SUBMITTING), asked[0]]
    together = await status_read.queue_positions(api.resources, asked)
    one_by_one = [
        (await status_read.queue_positions(api.resources, [subject]))[0] for subject in asked
    ]
    assert together == one_by_one == [8, 8, 8, None, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1]
    failed = make_subject(state=State.FAILED)
    assert await status_read.queue_positions(api.resources, [failed]) == [None]


FILLED = """
    INSERT INTO accounts (id, name, created_at) VALUES ('acc_old', 'old', now());
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version, available_at,
        deadline, created_at, updated_at)
    SELECT 'sub_old' || n, 'acc_old', 'f', '{}', '{}', 'queued', 1, now(), now(), now(), now()
    FROM generate_series(1, 5000) n;
    ANALYZE
"""


async def test_a_place_is_found_by_the_index_of_the_queue_from_one_to_the_next(api: Api) -> None:
    subject_id = (await api.create())["id"]
    with executed_statements() as statements:
        await api.read(subject_id)
    (statement,) = [statement for statement in statements if "lag(" in statement]
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        await connection.execute(FILLED)
        read = [
            scan
            for scan in table_scans(await query_plan(connection, statement))
            if "Relation Name" in scan
        ]
    finally:
        await connection.close()
    (scan,) = read
    assert scan["Index Name"] == "ix_subjects_queued"
    for bound in ("account_id =", ">= ROW", "< ROW"):
        assert bound in scan["Index Cond"]


async def test_many_who_read_at_once_are_each_answered_with_what_they_asked_for(
    api: Api, clock: Clock
) -> None:
    made = []
    for _ in range(20):
        made.append((await api.create())["id"])
        clock.advance(1)
    answers = await asyncio.gather(*(api.read(id_) for id_ in made * 3))
    assert [body["id"] for body in answers] == made * 3
    assert [body["queue"]["position"] for body in answers[:20]] == list(range(1, 21))


async def test_a_parameter_that_is_not_known_is_refused(api: Api) -> None:
    subject_id = (await api.create())["id"]
    answer = await api.http.get(f"/v1/subjects/{subject_id}?wait=5")
    errors: list[dict[str, Any]] = answer.json()["errors"]
    assert (answer.status_code, [error["pointer"] for error in errors]) == (422, ["/wait"])


async def test_what_has_ended_is_not_sent_twice(api: Api) -> None:
    subject_id = await subject_in_state(api, State.SUCCEEDED)
    etag = await tag(api, subject_id)
    assert (await request_subject(api, subject_id, if_none_match=etag)).status_code == 304
    assert (await request_subject(api, subject_id, if_none_match="*")).status_code == 304
    assert (await request_subject(api, "sub_none", if_none_match="*")).status_code == 404
