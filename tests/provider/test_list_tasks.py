"""Pages of the provider's list of our tasks, read by the client from a real socket."""

import pytest

from service.provider.remote.client import MAX_LIST_BYTES, MAX_RESPONSE_BYTES
from service.provider.remote.outcomes import (
    ListOutcome,
    OutcomeUnknown,
    ProviderStopped,
    RetryLater,
    TasksListed,
    UnreadableResponse,
)
from tests.support.provider_client import TASK_RECORD, provider_client
from tests.support.raw_servers import envelope_response
from tests.support.simulator import PATH
from tests.support.task_records import CURRENT_RECORD


async def listed(answer: bytes) -> ListOutcome:
    async with provider_client(answer) as (provider, _):
        return await provider.list_tasks(1, 500)


async def test_a_page_is_asked_for_by_its_number_and_size() -> None:
    async with provider_client(envelope_response(0, "SUCCEED", [])) as (provider, server):
        assert await provider.list_tasks(3, 500) == TasksListed([], 0)
    [request] = server.requests
    assert request.line == f"GET {PATH}?pageNum=3&pageSize=500 HTTP/1.1"
    assert request.headers["authorization"] == "Bearer sk-secret"


async def test_tasks_of_both_shapes_are_read_and_what_nobody_can_read_is_counted() -> None:
    page = [TASK_RECORD, CURRENT_RECORD, {"task_id": 1}, 7, None]
    answer = await listed(envelope_response(0, "SUCCEED", page))
    assert isinstance(answer, TasksListed)
    assert answer.count == 5
    assert [report.provider_task_id for report in answer.reports] == [
        TASK_RECORD["task_id"],
        CURRENT_RECORD["id"],
    ]


async def test_a_page_may_be_larger_than_one_task_and_is_bounded() -> None:
    large = [{**TASK_RECORD, "more": "x" * MAX_RESPONSE_BYTES}]
    assert isinstance(await listed(envelope_response(0, "SUCCEED", large)), TasksListed)
    too_large = [{**TASK_RECORD, "more": "x" * MAX_LIST_BYTES}]
    assert isinstance(await listed(envelope_response(0, "SUCCEED", too_large)), UnreadableResponse)


@pytest.mark.parametrize("data", [None, {}, "tasks", 7])
async def test_a_success_without_a_list_cannot_be_read(data: object) -> None:
    assert isinstance(await listed(envelope_response(0, "SUCCEED", data)), UnreadableResponse)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(1002, ProviderStopped), (1302, RetryLater), (5000, OutcomeUnknown), (1201, OutcomeUnknown)],
)
async def test_a_code_is_read_as_that_of_any_call(code: int, outcome: type) -> None:
    assert isinstance(await listed(envelope_response(code, "no", None)), outcome)
