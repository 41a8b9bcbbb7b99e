"""The provider's client against a real socket: every code, every lost answer, and no exception."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.messages import Status
from service.remote.answers import CLASSES, MOVES, Move
from service.remote.provider import (
    MAX_ANSWER,
    MAX_CONNECTIONS,
    Absent,
    Accepted,
    ApiKey,
    CreateAnswer,
    Deferred,
    Exists,
    Found,
    KeyPair,
    LookUpAnswer,
    Provider,
    Refused,
    Stopped,
    Unknown,
)
from tests.core.records import BIG, ELEMENT, NEWER, OLDER
from tests.remote.wire import Script, Wire, envelope, plain, wire

NOW = datetime(2026, 6, 10, 8, 39, 54, 151000, tzinfo=UTC)
PAIR = KeyPair("access", "its-own-characters")
BODY = {"element_name": "Mira", "external_task_id": "sub_01", "callback_url": "http://us/cb"}
RECORD = {
    "task_id": "831922345719271433",
    "task_info": {"external_task_id": "sub_01"},
    "task_status": "submitted",
    "created_at": 1781080778802,
    "updated_at": 1781080778802,
}
CREATED = envelope(0, "SUCCEED", RECORD)
PATH = "/v1/general/advanced-custom-elements"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def talking(
    *answers: bytes | Script,
    credentials: ApiKey | KeyPair = ApiKey("sk-secret"),  # noqa: B008 - frozen
    timeout: float = 30.0,  # noqa: ASYNC109 - the provider's own
    clock: Clock | None = None,
) -> AsyncIterator[tuple[Provider, Wire]]:
    async with wire(answers) as server:
        provider = Provider(server.url, credentials, timeout, clock or Clock())
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def created(*answers: bytes | Script, **how: Any) -> CreateAnswer:  # noqa: ANN401
    async with talking(*answers, **how) as (provider, _):
        return await provider.create(BODY)


async def looked_up(*answers: bytes | Script, **how: Any) -> LookUpAnswer:  # noqa: ANN401
    async with talking(*answers, **how) as (provider, _):
        return await provider.look_up("sub_01")


async def test_a_create_is_posted_and_its_record_read() -> None:
    async with talking(CREATED) as (provider, server):
        answer = await provider.create(BODY)
    assert isinstance(answer, Accepted)
    assert answer.report.provider_task_id == "831922345719271433"
    assert (answer.report.external_task_id, answer.report.status) == ("sub_01", Status.SUBMITTED)
    [request] = server.requests
    assert request.line == f"POST {PATH} HTTP/1.1"
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == BODY


async def test_a_look_up_names_the_task_in_the_path_and_keeps_every_digit() -> None:
    async with talking(envelope(0, "SUCCEED", OLDER)) as (provider, server):
        answer = await provider.look_up("sub_01")
        await provider.look_up("sub_01")
        assert server.connections == 1
    assert isinstance(answer, Found)
    assert answer.report.result is not None
    assert answer.report.result["element_id"] == str(BIG)
    assert ELEMENT["element_id"] == BIG
    assert server.requests[0].line == f"GET {PATH}/sub_01 HTTP/1.1"
    assert "content-type" not in server.requests[0].headers


async def test_a_base_url_may_end_in_a_slash_and_an_id_cannot_leave_the_path() -> None:
    async with wire([CREATED]) as server:
        provider = Provider(server.url + "/", ApiKey("k"), 30.0, Clock())
        await provider.look_up("../a b?c/é")
        await provider.aclose()
    assert server.requests[0].line == f"GET {PATH}/..%2Fa%20b%3Fc%2F%C3%A9 HTTP/1.1"


async def test_the_newer_shape_is_read_in_an_envelope_too() -> None:
    answer = await looked_up(envelope(0, "", NEWER))
    assert isinstance(answer, Found)
    assert answer.report.status is Status.SUCCEEDED


CREATE_ANSWERS = [
    *((code, 401, Stopped(code, "words")) for code in (1000, 1001, 1002, 1003, 1004)),
    *((code, 429, Stopped(code, "words")) for code in (1100, 1101, 1102, 1304)),
    (1103, 403, Refused(1103, "words")),
    *((code, 400, Refused(code, "words")) for code in (1200, 1201, 1300, 1301)),
    *((code, 404, Refused(code, "words")) for code in (1202, 1203)),
    (1302, 429, Deferred(1302, "words", 0.0, parallel=False)),
    (1303, 429, Deferred(1303, "words", 1.0, parallel=True)),
    (5000, 500, Unknown("the provider answered 5000: words")),
    (5001, 503, Deferred(5001, "words", 0.0, parallel=False)),
    (5002, 504, Unknown("the provider answered 5002: words")),
    # Codes nobody has documented, by their class.
    (1099, 401, Stopped(1099, "words")),
    (1199, 429, Stopped(1199, "words")),
    (1299, 400, Refused(1299, "words")),
    (1399, 429, Deferred(1399, "words", 0.0, parallel=False)),
    *(
        (code, 500, Unknown(f"the provider answered {code}: words"))
        for code in (5003, 1, -1, 12, 2000, 10**25)
    ),
]


@pytest.mark.parametrize(("code", "status", "expected"), CREATE_ANSWERS)
async def test_every_code_has_its_answer_whatever_the_http_status(
    code: int, status: int, expected: CreateAnswer
) -> None:
    assert await created(envelope(code, "words", status=status)) == expected
    assert await created(envelope(code, "words", status=200)) == expected


def test_no_code_of_the_table_is_left_out_of_the_tests() -> None:
    assert set(MOVES) <= {code for code, _, _ in CREATE_ANSWERS}
    assert set(CLASSES) == {
        code // 100 for code, move in MOVES.items() if move is not Move.DOUBT
    } - {50}


@pytest.mark.parametrize(("code", "status", "expected"), CREATE_ANSWERS)
async def test_a_look_up_is_never_refused_it_only_leaves_doubt(
    code: int, status: int, expected: CreateAnswer
) -> None:
    answer = await looked_up(envelope(code, "words", status=status))
    if isinstance(expected, Refused):
        assert answer == Unknown(f"the provider answered {code}: words")
    else:
        assert answer == expected


async def test_two_1201_answers_mean_something_else() -> None:
    exists = envelope(1201, "external_task_id Already Exists", status=400)
    assert await created(exists) == Exists("external_task_id Already Exists")
    absent = envelope(1201, "Task not found by id sub_01", status=400)
    assert await looked_up(absent) == Absent("Task not found by id sub_01")
    assert isinstance(await looked_up(exists), Unknown)
    assert isinstance(await created(absent), Refused)
    other = envelope(1200, "Task not found by id sub_01", status=400)
    assert isinstance(await looked_up(other), Unknown)


async def test_success_is_told_by_the_code_not_by_the_status() -> None:
    assert isinstance(await created(envelope(0, "", RECORD, status=500)), Accepted)


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
    answer = await created(envelope(code, "", headers=f"retry-after: {header}\r\n"))
    assert isinstance(answer, Deferred)
    assert answer.at_least == pytest.approx(expected)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "831922345719271433",
        {},
        {"task_id": "1"},
        {"task_id": "", "task_status": "submitted"},
        RECORD | {"id": "1"},
        RECORD | {"task_info": {"external_task_id": "sub_02"}},
    ],
)
async def test_success_without_a_record_of_our_task_is_in_doubt(data: object) -> None:
    assert isinstance(await created(envelope(0, "", data)), Unknown)
    assert isinstance(await looked_up(envelope(0, "", data)), Unknown)


async def test_a_record_that_does_not_repeat_our_id_is_believed() -> None:
    record = {"task_id": "1", "task_status": "submitted"}
    assert isinstance(await created(envelope(0, "", record)), Accepted)
    assert isinstance(await looked_up(envelope(0, "", record)), Found)


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
    "200 and nothing": plain(b""),
    "204": plain(b"", 204),
    "502 in HTML": plain(b"<html>502</html>", 502),
    "404 in HTML": plain(b"<html>404</html>", 404),
    "302": plain(b"", 302, "location: /elsewhere\r\n"),
    "array": plain(b"[]"),
    "null": plain(b"null"),
    "no code": plain(b"{}"),
    "code a string": plain(b'{"code": "0"}'),
    "code a boolean": plain(b'{"code": false}'),
    "code a fraction": plain(b'{"code": 0.0}'),
    "two codes": plain(b'{"code": null, "code": 0}'),
    "NaN": plain(b'{"code": NaN}'),
    "deep": plain(b'{"code": 0, "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not UTF-8": plain(b"\xff"),
    "gzip, not asked for": plain(gzip.compress(CREATED), headers="content-encoding: gzip\r\n"),
    "a byte too long": plain(CREATED.partition(b"\r\n\r\n")[2].ljust(MAX_ANSWER + 1)),
}


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
async def test_an_answer_that_is_lost_or_unreadable_leaves_doubt(answer: bytes | Script) -> None:
    for outcome in (await created(answer), await looked_up(answer)):
        assert isinstance(outcome, Unknown)
        assert outcome.reason
        assert "secret" not in outcome.reason


async def test_the_largest_answer_is_read() -> None:
    whole = CREATED.partition(b"\r\n\r\n")[2].ljust(MAX_ANSWER)
    assert isinstance(await created(plain(whole)), Accepted)


@pytest.mark.parametrize("answer", [silence, trickle])
async def test_no_call_takes_longer_than_its_time(answer: Script) -> None:
    assert await created(answer, timeout=0.2) == Unknown("no whole answer within 0.2 s")
    assert await looked_up(answer, timeout=0.2) == Unknown("no whole answer within 0.2 s")


async def test_a_redirect_is_not_followed() -> None:
    async with talking(plain(b"", 307, "location: /elsewhere\r\n")) as (provider, server):
        assert isinstance(await provider.create(BODY), Unknown)
        assert len(server.requests) == 1


async def test_a_refused_connection_means_nothing_was_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        provider = Provider(url, ApiKey("k"), 30.0, Clock())
        for answer in (await provider.create(BODY), await provider.look_up("x")):
            assert isinstance(answer, Deferred)
            assert (answer.provider_code, answer.at_least, answer.parallel) == (None, 0.0, False)
        await provider.aclose()


async def test_a_call_that_finds_no_free_connection_was_not_sent() -> None:
    async with talking(silence, timeout=1.0) as (provider, server):
        calls = (provider.create(BODY) for _ in range(MAX_CONNECTIONS + 1))
        answers = await asyncio.gather(*calls)
        assert len(server.requests) == MAX_CONNECTIONS
    assert sum(isinstance(answer, Unknown) for answer in answers) == MAX_CONNECTIONS
    assert sum(isinstance(answer, Deferred) for answer in answers) == 1


async def test_a_call_can_be_cancelled() -> None:
    async with talking(silence) as (provider, server):
        call = asyncio.create_task(provider.create(BODY))
        async with asyncio.timeout(10):
            while not server.requests:  # noqa: ASYNC110 - the server's list is no event
                await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(await created(CREATED), Accepted)


def claims_of(authorization: str) -> dict[str, Any]:
    """The claims of a JWT whose header and signature are right."""
    scheme, _, token = authorization.partition(" ")
    signed, _, mac = token.rpartition(".")
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split(".")
    )
    assert (scheme, header) == ("Bearer", {"alg": "HS256", "typ": "JWT"})
    expected = hmac.digest(PAIR.secret_key.encode(), signed.encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(mac + "==") == expected
    assert "=" not in token
    assert isinstance(claims, dict)
    return claims


async def test_a_pair_of_keys_signs_a_token_and_keeps_it_until_shortly_before_its_end() -> None:
    clock = Clock()
    second = int(NOW.timestamp())
    async with talking(CREATED, credentials=PAIR, clock=clock) as (provider, server):
        for seconds in (0, 1499, 1500):
            clock.now = NOW + timedelta(seconds=seconds)
            await provider.create(BODY)
    first, again, fresh = (claims_of(one.headers["authorization"]) for one in server.requests)
    assert first == {"iss": "access", "exp": second + 1800, "nbf": second - 5}
    assert again == first
    assert fresh["exp"] == second + 1500 + 1800


@pytest.mark.parametrize("code", [1003, 1004])
async def test_a_refused_token_is_minted_anew_once(code: int) -> None:
    clock = Clock()

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock.now += timedelta(seconds=1)
        writer.write(envelope(code, "token", status=401))

    async with talking(refuse, CREATED, credentials=PAIR, clock=clock) as (provider, server):
        assert isinstance(await provider.create(BODY), Accepted)
        first, second = (claims_of(one.headers["authorization"]) for one in server.requests)
        assert second["exp"] == first["exp"] + 1
    refused = envelope(code, "token", status=401)
    async with talking(refused, credentials=PAIR) as (provider, server):
        assert await provider.create(BODY) == Stopped(code, "token")
        assert len(server.requests) == 2


async def test_calls_refused_together_share_the_new_token() -> None:
    clock = Clock()
    arrived = asyncio.Barrier(2)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrived.wait()
        writer.write(envelope(1004, "expired", status=401))
        clock.now += timedelta(seconds=1)

    answers = (refuse, refuse, CREATED)
    async with talking(*answers, credentials=PAIR, clock=clock) as (provider, server):
        outcomes = await asyncio.gather(provider.create(BODY), provider.create(BODY))
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    tokens = [one.headers["authorization"] for one in server.requests]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]


async def test_an_api_key_that_is_refused_is_not_tried_again() -> None:
    async with talking(envelope(1004, "expired", status=401)) as (provider, server):
        assert await provider.create(BODY) == Stopped(1004, "expired")
        assert len(server.requests) == 1


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", "sch\xf6n", "\udcff"])
def test_a_key_that_would_break_a_header_is_refused_unrepeated(bad: str) -> None:
    for make in (ApiKey, lambda key: KeyPair(key, "s"), lambda key: KeyPair("a", key)):
        with pytest.raises(ValueError, match="visible ASCII") as raised:
            make(bad)
        assert not bad or bad not in str(raised.value)


def test_secrets_do_not_show() -> None:
    shown = repr(ApiKey("sk-secret")) + repr(KeyPair("access", "hidden"))
    assert "sk-secret" not in shown
    assert "hidden" not in shown


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300).map(says)
    | st.binary(max_size=300).map(plain)
    | st.builds(
        envelope,
        st.integers() | st.sampled_from(list(MOVES)),
        st.text(),
        st.none() | st.dictionaries(st.text(), st.text()),
    )
)
async def test_whatever_is_answered_comes_back_as_a_value(answer: bytes | Script) -> None:
    assert isinstance(await created(answer), CreateAnswer)
    assert isinstance(await looked_up(answer), LookUpAnswer)
