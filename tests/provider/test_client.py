"""The provider's client against a real socket: what it sends, and which outcome each code has."""

import json

import pytest

from service.provider.domain.task_reports import TaskStatus
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderApiKey
from service.provider.remote.error_codes import CODE_ACTIONS, CODE_CLASS_ACTIONS, CodeAction
from service.provider.remote.outcomes import (
    AlreadyExists,
    CreateOutcome,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
    TaskAccepted,
    TaskFound,
    TaskNotFound,
)
from tests.support.clock import Clock
from tests.support.provider_client import (
    CREATE_BODY,
    CREATED,
    NOW,
    TASK_RECORD,
    create_answer,
    look_up_answer,
    provider_client,
)
from tests.support.raw_servers import envelope_response, raw_server
from tests.support.simulator import PATH
from tests.support.task_records import BIG, CURRENT_RECORD, ELEMENT, LEGACY_RECORD


async def test_a_create_is_posted_and_its_record_read() -> None:
    async with provider_client(CREATED) as (provider, server):
        answer = await provider.create(CREATE_BODY)
    assert isinstance(answer, TaskAccepted)
    assert answer.report.provider_task_id == "831922345719271433"
    assert (answer.report.external_task_id, answer.report.status) == (
        "sub_01",
        TaskStatus.SUBMITTED,
    )
    [request] = server.requests
    assert request.line == f"POST {PATH} HTTP/1.1"
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == CREATE_BODY


async def test_a_look_up_names_the_task_in_the_path_and_keeps_every_digit() -> None:
    async with provider_client(envelope_response(0, "SUCCEED", LEGACY_RECORD)) as (
        provider,
        server,
    ):
        answer = await provider.look_up("sub_01")
        await provider.look_up("sub_01")
        assert server.connections == 1
    assert isinstance(answer, TaskFound)
    assert answer.report.result is not None
    assert answer.report.result["element_id"] == str(BIG)
    assert ELEMENT["element_id"] == BIG
    assert server.requests[0].line == f"GET {PATH}/sub_01 HTTP/1.1"
    assert "content-type" not in server.requests[0].headers


async def test_a_base_url_may_end_in_a_slash_and_an_id_cannot_leave_the_path() -> None:
    async with raw_server([CREATED]) as server:
        provider = ProviderClient(server.url + "/", ProviderApiKey("k"), 30.0, Clock(NOW))
        await provider.look_up("../a b?c/é")
        await provider.aclose()
    assert server.requests[0].line == f"GET {PATH}/..%2Fa%20b%3Fc%2F%C3%A9 HTTP/1.1"


async def test_the_current_shape_is_read_in_an_envelope_too() -> None:
    answer = await look_up_answer(envelope_response(0, "", CURRENT_RECORD))
    assert isinstance(answer, TaskFound)
    assert answer.report.status is TaskStatus.SUCCEEDED


CREATE_ANSWERS = [
    *((code, 401, ProviderStopped(code, "words")) for code in (1000, 1001, 1002, 1003, 1004)),
    *((code, 429, ProviderStopped(code, "words")) for code in (1100, 1101, 1102, 1304)),
    (1103, 403, Refused(1103, "words")),
    *((code, 400, Refused(code, "words")) for code in (1200, 1201, 1300, 1301)),
    *((code, 404, Refused(code, "words")) for code in (1202, 1203)),
    (1302, 429, RetryLater(1302, "words", 0.0, at_parallel_limit=False)),
    (1303, 429, RetryLater(1303, "words", 1.0, at_parallel_limit=True)),
    (5000, 500, OutcomeUnknown("the provider answered 5000: words", was_readable=True)),
    (5001, 503, RetryLater(5001, "words", 0.0, at_parallel_limit=False)),
    (5002, 504, OutcomeUnknown("the provider answered 5002: words", was_readable=True)),
    # Codes nobody has documented, by their class.
    (1099, 401, ProviderStopped(1099, "words")),
    (1199, 429, ProviderStopped(1199, "words")),
    (1299, 400, Refused(1299, "words")),
    (1399, 429, RetryLater(1399, "words", 0.0, at_parallel_limit=False)),
    *(
        (code, 500, OutcomeUnknown(f"the provider answered {code}: words", was_readable=True))
        for code in (5003, 1, -1, 12, 2000, 10**25)
    ),
]


@pytest.mark.parametrize(("code", "status", "expected"), CREATE_ANSWERS)
async def test_every_code_has_its_answer_whatever_the_http_status(
    code: int, status: int, expected: CreateOutcome
) -> None:
    assert await create_answer(envelope_response(code, "words", status=status)) == expected
    assert await create_answer(envelope_response(code, "words", status=200)) == expected


def test_no_code_of_the_table_is_left_out_of_the_tests() -> None:
    assert set(CODE_ACTIONS) <= {code for code, _, _ in CREATE_ANSWERS}
    assert set(CODE_CLASS_ACTIONS) == {
        code // 100 for code, move in CODE_ACTIONS.items() if move is not CodeAction.LOOK_UP
    } - {50}


@pytest.mark.parametrize(("code", "status", "expected"), CREATE_ANSWERS)
async def test_a_look_up_is_never_refused_only_unknown(
    code: int, status: int, expected: CreateOutcome
) -> None:
    answer = await look_up_answer(envelope_response(code, "words", status=status))
    if isinstance(expected, Refused):
        assert answer == OutcomeUnknown(f"the provider answered {code}: words", was_readable=True)
    else:
        assert answer == expected


async def test_two_1201_answers_mean_something_else() -> None:
    exists = envelope_response(1201, "external_task_id Already Exists", status=400)
    assert await create_answer(exists) == AlreadyExists("external_task_id Already Exists")
    absent = envelope_response(1201, "Task not found by id sub_01", status=400)
    assert await look_up_answer(absent) == TaskNotFound("Task not found by id sub_01")
    assert isinstance(await look_up_answer(exists), OutcomeUnknown)
    assert isinstance(await create_answer(absent), Refused)
    other = envelope_response(1200, "Task not found by id sub_01", status=400)
    assert isinstance(await look_up_answer(other), OutcomeUnknown)


async def test_success_depends_on_the_code_not_on_the_http_status() -> None:
    assert isinstance(
        await create_answer(envelope_response(0, "", TASK_RECORD, status=500)), TaskAccepted
    )


@pytest.mark.parametrize(
    ("header", "code", "expected"),
    [
        ("7", 1302, 7.0),
        ("7", 5001, 7.0),
        ("0", 1303, 1.0),
        ("7", 1303, 7.0),
        ("86400", 1302, 300.0),
        ("Wed, 10 Jun 2026 08:40:54 GMT", 1302, 59.849),
        ("Wed, 10 Jun 2026 08:00:00 GMT", 1302, 0.0),
        ("-5", 1302, 0.0),
        ("soon", 1302, 0.0),
        ("\xe9", 1302, 0.0),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    header: str, code: int, expected: float
) -> None:
    answer = await create_answer(envelope_response(code, "", headers=f"retry-after: {header}\r\n"))
    assert isinstance(answer, RetryLater)
    assert answer.retry_after == pytest.approx(expected)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "831922345719271433",
        {},
        {"task_id": "1"},
        {"task_id": "", "task_status": "submitted"},
        TASK_RECORD | {"id": "1"},
        TASK_RECORD | {"task_info": {"external_task_id": "sub_02"}},
    ],
)
async def test_success_without_a_record_of_our_task_is_unknown(data: object) -> None:
    assert isinstance(await create_answer(envelope_response(0, "", data)), OutcomeUnknown)
    assert isinstance(await look_up_answer(envelope_response(0, "", data)), OutcomeUnknown)


async def test_a_record_that_does_not_repeat_our_id_is_believed() -> None:
    record = {"task_id": "1", "task_status": "submitted"}
    assert isinstance(await create_answer(envelope_response(0, "", record)), TaskAccepted)
    assert isinstance(await look_up_answer(envelope_response(0, "", record)), TaskFound)
