import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.targets import parse_networks
from service.remote.guard import Guard
from service.remote.subscriber import KEPT_BYTES, Answered, Attempt, Failed, Sender

LOOPBACK = parse_networks("127.0.0.0/8")
PATIENCE = 30.0  # seconds; never waited for by a test that passes
SHORT = 0.3  # seconds, where the time-out itself is the subject

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@asynccontextmanager
async def listening(script: Script) -> AsyncIterator[str]:
    """A server that treats each connection by the script and then closes it; gives its URL."""
    busy: set[asyncio.Task[None]] = set()

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(treat(reader, writer))
        busy.add(task)
        task.add_done_callback(busy.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        for task in busy:
            task.cancel()


async def request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """One request: its head in lower case, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(
        int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")
    )
    return head, await reader.readexactly(length)


def saying(answer: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)
        await writer.drain()

    return script


def saying_for_ever(start: bytes, part: bytes, pause: float = 0) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def post(url: str, seconds: float = PATIENCE, **headers: str) -> Attempt:
    async with Sender(Guard(LOOPBACK)) as sender:
        return await sender.post(url, headers, b"{}", seconds)


async def answered(script: Script, seconds: float = PATIENCE) -> Answered:
    async with listening(script) as url:
        attempt = await post(url, seconds)
    assert isinstance(attempt, Answered), attempt
    assert attempt.latency >= 0
    return attempt


async def failed(script: Script, seconds: float = PATIENCE) -> str:
    async with listening(script) as url:
        return reason(await post(url, seconds))


def reason(attempt: Attempt) -> str:
    assert isinstance(attempt, Failed), attempt
    assert attempt.detail.isprintable()
    assert "hook" not in attempt.detail
    assert attempt.latency >= 0
    return attempt.reason


async def test_the_exact_bytes_and_headers_arrive_and_little_else() -> None:
    arrived: list[tuple[str, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")

    async with listening(script) as url, Sender(Guard(LOOPBACK)) as sender:
        headers = {"webhook-id": "evt_1", "content-type": "application/json"}
        attempt = await sender.post(url, headers, b'{"a": 1}', PATIENCE)
    assert isinstance(attempt, Answered)
    assert (attempt.status, attempt.body, attempt.retry_after) == (200, b"there", None)
    head, body = arrived[0]
    assert body == b'{"a": 1}'
    assert head.startswith("post /hook http/1.1\r\n")
    names = {line.split(":")[0] for line in head.split("\r\n")[1:] if line}
    ours = {"webhook-id", "content-type"}
    assert names == ours | {"host", "user-agent", "accept", "accept-encoding", "content-length"}
    assert "accept-encoding: identity" in head


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 410, 429, 500, 503])
async def test_any_status_is_an_answer(status: int) -> None:
    answer = await answered(saying(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode()))
    assert (answer.status, answer.body) == (status, b"")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    heads: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await request(reader)
        heads.append(head)
        head = f"HTTP/1.1 {status} x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())

    assert (await answered(script)).status == status
    assert len(heads) == 1


async def test_retry_after_is_handed_on_as_it_came() -> None:
    head = b"HTTP/1.1 503 x\r\nRetry-After: Sun, 01 Mar 2026 12:01:30 GMT\r\nContent-Length: 0\r\n"
    answer = await answered(saying(head + b"\r\n"))
    assert answer.retry_after == "Sun, 01 Mar 2026 12:01:30 GMT"


async def test_cookies_are_not_kept_and_the_connection_is() -> None:
    connections = itertools.count(1)
    heads: list[tuple[int, str]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(connections)
        while True:
            head, _ = await request(reader)
            heads.append((connection, head))
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok")

    async with listening(script) as url, Sender(Guard(LOOPBACK)) as sender:
        for _ in range(3):
            assert isinstance(await sender.post(url, {}, b"{}", PATIENCE), Answered)
    assert [connection for connection, _ in heads] == [1, 1, 1]
    assert not any("cookie" in head for _, head in heads)


async def test_what_the_environment_says_about_proxies_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    answer = await answered(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    assert answer.status == 200


async def test_a_packed_answer_stays_packed() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    answer = await answered(saying(head.encode() + bomb))
    assert answer.body == bomb[:KEPT_BYTES]


async def test_an_endless_answer_is_cut() -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await answered(saying_for_ever(start, b"400\r\n" + b"x" * 1024 + b"\r\n"))
    assert (answer.status, answer.body) == (200, b"x" * KEPT_BYTES)


async def test_a_trickling_answer_is_cut_when_the_time_is_up() -> None:
    start = b"HTTP/1.1 500 x\r\nContent-Length: 1000000\r\n\r\n"
    answer = await answered(saying_for_ever(start, b"x", 0.01), SHORT)
    assert answer.status == 500
    assert 0 < len(answer.body) < KEPT_BYTES


async def test_a_connection_with_a_cut_answer_is_not_used_again() -> None:
    connections = itertools.count(1)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b"%d" % next(connections)
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + body.ljust(KEPT_BYTES))
        await reader.read()

    async with listening(script) as url, Sender(Guard(LOOPBACK), per_host=1) as sender:
        bodies = [await sender.post(url, {}, b"{}", PATIENCE) for _ in range(2)]
    assert [one.body.strip() for one in bodies if isinstance(one, Answered)] == [b"1", b"2"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        b"HTTP/1.1 200 OK\r\n\r\npart",
    ],
)
async def test_a_status_stands_though_its_body_breaks_off(answer: bytes) -> None:
    assert (await answered(saying(answer))).status == 200


NEVER_AN_ANSWER: dict[str, Script] = {
    "nothing": silent,
    "endless interim answers": saying_for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a trickled header": saying_for_ever(b"HTTP/1.1 200 OK\r\n", b"x", 0.01),
    "trickled headers": saying_for_ever(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.02),
}


@pytest.mark.parametrize("kind", NEVER_AN_ANSWER)
async def test_a_subscriber_without_an_answer_times_out(kind: str) -> None:
    assert await failed(NEVER_AN_ANSWER[kind], SHORT) == "timeout"


GOOD = b"HTTP/1.1 200 OK\r\n"
NOT_HTTP: dict[str, Script] = {
    "words": saying(b"hello\r\n\r\n"),
    "binary": saying(b"\x16\x03\x01\x02\x00" * 100),
    "a huge status": saying(b"HTTP/1.1 999999 x\r\n\r\n"),
    "a negative status": saying(b"HTTP/1.1 -1 x\r\n\r\n"),
    "a huge status line": saying(b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n"),
    "a negative length": saying(GOOD + b"Content-Length: -5\r\n\r\n"),
    "two lengths": saying(GOOD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    "a huge header": saying(GOOD + b"x: " + b"x" * 100_000 + b"\r\n\r\n"),
    "endless headers": saying_for_ever(GOOD, b"x: y\r\n"),
}


@pytest.mark.parametrize("kind", NOT_HTTP)
async def test_an_answer_that_is_not_http_is_none(kind: str) -> None:
    assert await failed(NOT_HTTP[kind]) == "protocol"


async def hanging_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await request(reader)


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.transport.abort()


@pytest.mark.parametrize("script", [hanging_up, resetting, saying(b"HTTP/1.1 200 OK\r\nConte")])
async def test_a_connection_that_ends_before_the_answer_is_a_reset(script: Script) -> None:
    assert await failed(script) == "reset"


async def test_a_kept_connection_that_was_just_closed_fails_and_is_not_sent_again() -> None:
    heads: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""):
            head, _ = await request(reader)
            heads.append(head)
            writer.write(answer)

    async with listening(script) as url, Sender(Guard(LOOPBACK)) as sender:
        assert isinstance(await sender.post(url, {}, b"{}", PATIENCE), Answered)
        assert reason(await sender.post(url, {}, b"{}", PATIENCE)) == "reset"
    assert len(heads) == 2


async def test_a_port_that_does_not_listen_fails_to_connect() -> None:
    async with listening(silent) as url:
        pass
    assert reason(await post(url)) == "connect"


async def test_an_unknown_name_fails_to_resolve() -> None:
    async def nobody(_: str) -> list[str]:
        return []

    async with Sender(Guard(LOOPBACK, nobody)) as sender:
        assert reason(await sender.post("http://sub.test/hook", {}, b"", PATIENCE)) == "dns"


@pytest.mark.parametrize("host", ["10.0.0.1", "[::1]", "sub.test"])
async def test_an_address_that_must_not_be_dialled_is_blocked(host: str) -> None:
    async def inward(_: str) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    async with Sender(Guard(LOOPBACK, inward)) as sender:
        attempt = await sender.post(f"http://{host}:9/hook", {}, b"", PATIENCE)
    assert reason(attempt) == "blocked"
    assert isinstance(attempt, Failed)
    assert attempt.detail.startswith("this address may not be called: ")


async def test_a_server_that_does_not_speak_tls_fails_at_tls() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(script) as url:
        assert reason(await post(url.replace("http", "https"))) == "tls"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "/hook",
        "ftp://127.0.0.1/hook",
        "http:///hook",
        "http://[::1/hook",
        "http://127.1/hook",
    ],
)
async def test_what_is_no_url_cannot_be_sent(url: str) -> None:
    assert reason(await post(url)) == "request"


async def test_headers_that_would_break_the_request_are_not_sent() -> None:
    async with listening(silent) as url:
        assert reason(await post(url, a="b\r\nc: d")) == "request"


async def test_after_closing_nothing_is_sent() -> None:
    sender = Sender(Guard(LOOPBACK))
    await sender.aclose()
    assert reason(await sender.post("http://127.0.0.1:9/hook", {}, b"", PATIENCE)) == "reset"


async def test_a_send_that_is_stopped_stops() -> None:
    arrived = asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await request(reader)
        arrived.set()
        await reader.read()

    async with listening(script) as url:
        sending = asyncio.ensure_future(post(url))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


FRAGMENTS = st.sampled_from(
    [
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 x\r\n",
        b"HTTP/1.1 100 x\r\n\r\n",
        b"HTTP/1.0 204 x\r\n",
        b"HTTP/9.9 299 x\r\n",
        b"\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b"Retry-After: \xff\xfe\r\n",
        b"Set-Cookie: \xff=;=\r\n",
        b"Location: http://[\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"\x00",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS | st.binary(max_size=20), max_size=8).map(b"".join))
async def test_whatever_a_subscriber_says_comes_out_as_a_value(answer: bytes) -> None:
    async with listening(saying(answer)) as url:
        attempt = await post(url)
    assert isinstance(attempt, Answered | Failed)
    if isinstance(attempt, Failed):
        assert reason(attempt) in {"protocol", "reset"}
