"""Calls to the provider are counted by operation and outcome, and timed."""

from tests.support.metrics import MetricChanges, shown
from tests.support.provider_client import (
    CREATED,
    KEY_PAIR,
    create_answer,
    delete_answer,
    look_up_answer,
)
from tests.support.raw_servers import envelope_response

REQUESTS = "provider_requests_total"
TIMES = "provider_request_duration_seconds_count"


async def test_a_call_counts_by_what_came_of_it() -> None:
    changes = MetricChanges()
    await create_answer(CREATED)
    await create_answer(envelope_response(1303, "too many"))
    await create_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")
    await look_up_answer(envelope_response(1201, "task not found"))
    await look_up_answer(envelope_response(5000, "broken"))
    await delete_answer(envelope_response(0, "SUCCEED"))
    assert changes.of(REQUESTS) == {
        ("create", "task_accepted"): 1,
        ("create", "retry_later"): 1,
        ("create", "unreadable_response"): 1,
        ("look_up", "task_not_found"): 1,
        ("look_up", "outcome_unknown"): 1,
        ("delete", "element_deleted"): 1,
    }
    assert changes.of(TIMES) == {("create",): 3, ("look_up",): 2, ("delete",): 1}


async def test_a_call_that_is_repeated_with_a_new_token_is_one_call() -> None:
    expired = envelope_response(1004, "expired")
    changes = MetricChanges()
    await create_answer(expired, CREATED, credentials=KEY_PAIR)
    assert changes.of(REQUESTS) == {("create", "task_accepted"): 1}
    assert changes.of(TIMES) == {("create",): 1}


def test_every_outcome_is_shown_from_the_start() -> None:
    any_call = {"retry_later", "provider_stopped", "outcome_unknown", "unreadable_response"}
    creates = any_call | {"task_accepted", "already_exists", "refused"}
    expected = {
        "create": creates,
        "look_up": any_call | {"task_found", "task_not_found"},
        "delete": any_call | {"element_deleted", "element_not_found", "refused"},
        "list": any_call | {"tasks_listed"},
    }
    assert set(shown(REQUESTS)) == {
        (operation, outcome) for operation, outcomes in expected.items() for outcome in outcomes
    }
