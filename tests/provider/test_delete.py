"""Deletes of elements by the provider's client, against a real socket: what it sends, and which
outcome each answer has."""

import json

import pytest

from service.provider.remote.outcomes import (
    DeleteOutcome,
    ElementDeleted,
    ElementNotFound,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
)
from tests.support.provider_client import KEY_PAIR, delete_answer, provider_client
from tests.support.raw_servers import envelope_response, http_response

DELETED = envelope_response(0, "SUCCEED")


async def test_a_delete_posts_the_id_of_the_element_as_a_text() -> None:
    async with provider_client(DELETED) as (provider, server):
        assert await provider.delete("831922345719271433") == ElementDeleted()
    [request] = server.requests
    assert request.line == "POST /v1/general/delete-advanced-elements HTTP/1.1"
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {"element_id": "831922345719271433"}


@pytest.mark.parametrize("data", [b"", b', "data": null', b', "data": {}', b', "data": ["x", 7]'])
async def test_a_success_may_come_with_any_data_or_none(data: bytes) -> None:
    answer = http_response(b'{"code": 0, "message": "SUCCEED"' + data + b"}")
    assert await delete_answer(answer) == ElementDeleted()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1201, "Element not found by element_id: 7"),
        (1201, "element Does Not Exist"),
        (1201, "the element is already deleted"),
        (1203, "The requested element does not exist"),
    ],
)
async def test_an_element_that_is_not_there_is_known_by_code_and_words(
    code: int, words: str
) -> None:
    for status in (200, 400, 404):
        answer = envelope_response(code, words, status=status)
        assert await delete_answer(answer) == ElementNotFound(words)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1201, "Invalid parameters"),
        (1201, "element_id must be a text"),
        (1203, "The requested resource does not exist"),  # the path, perhaps
        (1202, "The requested element was not found"),  # the method is what is wrong
        (1200, "element not found"),
        (1103, "element not found"),
        (1301, "element not found"),
    ],
)
async def test_whatever_else_is_refused_is_a_refusal_as_the_element_may_live_on(
    code: int, words: str
) -> None:
    assert await delete_answer(envelope_response(code, words, status=404)) == Refused(code, words)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1002, ProviderStopped(1002, "not found")),
        (1101, ProviderStopped(1101, "not found")),
        (1302, RetryLater(1302, "not found", 7.0, at_parallel_limit=False)),
        (5001, RetryLater(5001, "not found", 7.0, at_parallel_limit=False)),
        (5000, OutcomeUnknown("the provider answered 5000: not found", was_readable=True)),
        (5002, OutcomeUnknown("the provider answered 5002: not found", was_readable=True)),
        (404, OutcomeUnknown("the provider answered 404: not found", was_readable=True)),
    ],
)
async def test_other_codes_are_read_as_those_of_a_create(
    code: int, expected: DeleteOutcome
) -> None:
    answer = http_response(
        json.dumps({"code": code, "message": "not found"}).encode(), 404, "retry-after: 7\r\n"
    )
    assert await delete_answer(answer) == expected


async def test_a_refused_token_is_renewed_once() -> None:
    expired = envelope_response(1004, "expired", status=401)
    async with provider_client(expired, DELETED, credentials=KEY_PAIR) as (provider, server):
        assert await provider.delete("7") == ElementDeleted()
    first, second = server.requests
    assert first.body == second.body
