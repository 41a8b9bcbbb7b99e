"""Events by pull: in order, from where the reader left off, and never another account's."""

from typing import Any

import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys
from service.event_feed.web.sse import STREAM
from service.kit.http.content_negotiation import prefers
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.api import Api

FIELDS = {"id", "type", "timestamp", "data"}
ARABIC = "\N{ARABIC-INDIC DIGIT ONE}"
CURSORS = ("", "7", "1-", "-1-1", "1-1-1", "a-b", f"{ARABIC}-{ARABIC}", "1-\0", "9" * 40)


async def page(api: Api, path: str, **params: object) -> dict[str, Any]:
    answer = await api.http.get(path, params={name: str(value) for name, value in params.items()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def ended(api: Api) -> str:
    """A subject with three events."""
    subject_id: str = (await api.create())["id"]
    await transition(
        api.resources, subject_id, StatusUpdate(Signal.SUBMITTED, provider_task_id=subject_id)
    )
    await transition(api.resources, subject_id, StatusUpdate(Signal.FAILED, error={"code": "x"}))
    return subject_id


async def test_a_subjects_events_say_how_it_was_after_each(api: Api) -> None:
    subject_id = await ended(api)
    events = (await page(api, f"/v1/subjects/{subject_id}/events"))["data"]
    assert all(set(event) == FIELDS for event in events)
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3]
    assert [event["data"]["version"] for event in events] == [1, 2, 3]
    assert [event["data"]["state"] for event in events] == ["queued", "submitted", "failed"]
    assert [event["type"] for event in events] == [
        f"subject.{event['data']['state']}" for event in events
    ]
    last = events[-1]["data"]
    shown = await api.read(subject_id)
    del shown["kept_until"]  # as the settings are now, and no event says
    assert last == shown | {"sequence": 3}
    assert events[-1]["timestamp"] == last["updated_at"]


async def test_a_subjects_events_are_read_on_from_a_sequence(api: Api) -> None:
    path = f"/v1/subjects/{await ended(api)}/events"
    sequences: list[int] = []
    after = "0"
    for _ in range(4):
        read = await page(api, path, after=after, limit=1)
        sequences += [event["data"]["sequence"] for event in read["data"]]
        after = read["next_cursor"]
    assert (sequences, after) == ([1, 2, 3], "3")


async def test_the_feed_is_read_on_from_its_cursor_and_shows_each_event_once(api: Api) -> None:
    assert await page(api, "/v1/events") == {"data": [], "next_cursor": "0-0"}
    subjects = [await ended(api) for _ in range(2)]
    await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    read_events: list[tuple[str, int]] = []
    cursor: dict[str, object] = {}
    for _ in range(5):
        read = await page(api, "/v1/events", limit=2, **cursor)
        read_events += [(event["data"]["id"], event["data"]["sequence"]) for event in read["data"]]
        cursor = {"after": read["next_cursor"]}
    assert read_events == [(subject, number) for subject in subjects for number in (1, 2, 3)]
    subjects.append(await ended(api))
    read = await page(api, "/v1/events", **cursor)
    assert [event["data"]["id"] for event in read["data"]] == subjects[-1:] * 3


async def test_a_place_that_is_not_one_of_ours_is_refused(api: Api) -> None:
    subject_id = (await api.create())["id"]
    wrong = [("/v1/events", cursor) for cursor in CURSORS]
    wrong += [(f"/v1/subjects/{subject_id}/events", after) for after in ("-1", "x", "1000001")]
    for path, after in wrong:
        answer = await api.http.get(path, params={"after": after})
        assert answer.status_code in {400, 422}, after
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_cursor_from_beyond_the_end_shows_nothing(api: Api) -> None:
    await ended(api)
    beyond = "9" * 18 + "-" + "9" * 18
    assert await page(api, "/v1/events", after=beyond) == {"data": [], "next_cursor": beyond}


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html, application/xml;q=0.9, */*;q=0.8", False),
        ("text/*", False),
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("text/event-stream, */*", True),
        ("text/event-stream, application/json", True),
        ("application/json, text/event-stream", False),
        ("application/json;q=0, text/event-stream", True),
        ("text/event-stream;q=0.5, */*", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream; Q = 0.000, */*", False),
        ("text/event-stream, text/event-stream;q=0", True),
        (",;,=;q=1,", False),
    ],
)
def test_a_stream_is_for_whoever_names_it_before_json(accept: str, *, stream: bool) -> None:
    assert prefers(accept, STREAM) is stream
