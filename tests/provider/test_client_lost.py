"""The provider's client where answers are lost, late or unreadable: nothing is raised."""

import asyncio
import gzip
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.provider.remote.client import MAX_CONNECTIONS, MAX_RESPONSE_BYTES, ProviderClient
from service.provider.remote.credentials import ProviderApiKey
from service.provider.remote.error_codes import CODE_ACTIONS
from service.provider.remote.outcomes import (
    CreateOutcome,
    DeleteOutcome,
    LookUpOutcome,
    OutcomeUnknown,
    RetryLater,
    TaskAccepted,
)
from tests.support.clock import Clock
from tests.support.provider_client import (
    CREATE_BODY,
    CREATED,
    NOW,
    create_answer,
    delete_answer,
    look_up_answer,
    provider_client,
)
from tests.support.raw_servers import Script, envelope_response, http_response


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hang up without a word."""


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection off."""
    writer.transport.abort()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the client has gone."""
    await reader.read()


async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One byte at a time, always soon enough for the next, never to an end."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer without end, as fast as it goes."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


def says(raw: bytes) -> Script:
    """Send these bytes, then hang up."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return script


LOST: dict[str, bytes | Script] = {
    "hung up": close,
    "reset": reset,
    "without end": flood,
    "half a head": says(b"HTTP/1.1 200 OK\r\n"),
    "half a body": says(CREATED[:-1]),
    "another protocol": says(b"220 mail.example.com ESMTP\r\n"),
    "TLS": says(b"\x16\x03\x01"),
    "no length": says(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"),
    "a long header": says(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n"),
    "101": says(b"HTTP/1.1 101 No\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    "200 and nothing": http_response(b""),
    "204": http_response(b"", 204),
    "502 in HTML": http_response(b"<html>502</html>", 502),
    "404 in HTML": http_response(b"<html>404</html>", 404),
    "302": http_response(b"", 302, "location: /elsewhere\r\n"),
    "array": http_response(b"[]"),
    "null": http_response(b"null"),
    "no code": http_response(b"{}"),
    "code a string": http_response(b'{"code": "0"}'),
    "code a boolean": http_response(b'{"code": false}'),
    "code a fraction": http_response(b'{"code": 0.0}'),
    "two codes": http_response(b'{"code": null, "code": 0}'),
    "NaN": http_response(b'{"code": NaN}'),
    "deep": http_response(b'{"code": 0, "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not UTF-8": http_response(b"\xff"),
    "gzip, not asked for": http_response(
        gzip.compress(CREATED), headers="content-encoding: gzip\r\n"
    ),
    "a byte too long": http_response(
        CREATED.partition(b"\r\n\r\n")[2].ljust(MAX_RESPONSE_BYTES + 1)
    ),
}


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
async def test_the_outcome_of_an_answer_that_is_lost_or_unreadable_is_unknown(
    answer: bytes | Script,
) -> None:
    outcomes: list[object] = [await create_answer(answer), await look_up_answer(answer)]
    if answer is not LOST["code a string"]:  # the success of a delete needs no more than a code
        outcomes.append(await delete_answer(answer))
    for outcome in outcomes:
        assert isinstance(outcome, OutcomeUnknown)
        assert outcome.reason
        assert "secret" not in outcome.reason


async def test_the_largest_answer_is_read() -> None:
    whole = CREATED.partition(b"\r\n\r\n")[2].ljust(MAX_RESPONSE_BYTES)
    assert isinstance(await create_answer(http_response(whole)), TaskAccepted)


@pytest.mark.parametrize("answer", [silence, trickle])
async def test_no_call_takes_longer_than_its_time(answer: Script) -> None:
    assert await create_answer(answer, timeout=0.2) == OutcomeUnknown(
        "no whole answer within 0.2 s"
    )
    assert await look_up_answer(answer, timeout=0.2) == OutcomeUnknown(
        "no whole answer within 0.2 s"
    )
    assert await delete_answer(answer, timeout=0.2) == OutcomeUnknown(
        "no whole answer within 0.2 s"
    )


async def test_a_redirect_is_not_followed() -> None:
    async with provider_client(http_response(b"", 307, "location: /elsewhere\r\n")) as (
        provider,
        server,
    ):
        assert isinstance(await provider.create(CREATE_BODY), OutcomeUnknown)
        assert len(server.requests) == 1


async def test_a_refused_connection_means_nothing_was_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        provider = ProviderClient(url, ProviderApiKey("k"), 30.0, Clock(NOW))
        answers = (
            await provider.create(CREATE_BODY),
            await provider.look_up("x"),
            await provider.delete("x"),
        )
        for answer in answers:
            assert isinstance(answer, RetryLater)
            assert (answer.provider_code, answer.retry_after, answer.at_parallel_limit) == (
                None,
                0.0,
                False,
            )
        await provider.aclose()


async def test_a_call_that_finds_no_free_connection_was_not_sent() -> None:
    async with provider_client(silence, timeout=1.0) as (provider, server):
        calls = (provider.create(CREATE_BODY) for _ in range(MAX_CONNECTIONS + 1))
        answers = await asyncio.gather(*calls)
        assert len(server.requests) == MAX_CONNECTIONS
    assert sum(isinstance(answer, OutcomeUnknown) for answer in answers) == MAX_CONNECTIONS
    assert sum(isinstance(answer, RetryLater) for answer in answers) == 1


async def test_a_call_can_be_cancelled() -> None:
    async with provider_client(silence) as (provider, server):
        call = asyncio.create_task(provider.create(CREATE_BODY))
        async with asyncio.timeout(10):
            while not server.requests:  # noqa: ASYNC110 - the server's list is no event
                await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(await create_answer(CREATED), TaskAccepted)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300).map(says)
    | st.binary(max_size=300).map(http_response)
    | st.builds(
        envelope_response,
        st.integers() | st.sampled_from(list(CODE_ACTIONS)),
        st.text(),
        st.none() | st.dictionaries(st.text(), st.text()),
    )
)
async def test_whatever_is_answered_comes_back_as_a_value(answer: bytes | Script) -> None:
    assert isinstance(await create_answer(answer), CreateOutcome)
    assert isinstance(await look_up_answer(answer), LookUpOutcome)
    assert isinstance(await delete_answer(answer), DeleteOutcome)
