"""Webhook requests: the bytes that are sent, and the outcome of each kind of answer or failure."""

import asyncio
import itertools

import pytest

from service.delivery.remote.outcomes import Answered, Failed
from service.delivery.remote.webhook import WebhookSender
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.raw_servers import (
    LOOPBACK,
    TIMEOUT,
    never_respond,
    read_request,
    respond,
    scripted_server,
)
from tests.support.webhook_attempts import answered_attempt, post_webhook, reason_of


async def test_the_exact_bytes_and_headers_arrive_and_little_else() -> None:
    arrived: list[tuple[str, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        headers = {"webhook-id": "evt_1", "content-type": "application/json"}
        attempt = await sender.post(url, headers, b'{"a": 1}', TIMEOUT)
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
    answer = await answered_attempt(
        respond(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
    )
    assert (answer.status, answer.body) == (status, b"")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    heads: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        heads.append(head)
        head = f"HTTP/1.1 {status} x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())

    assert (await answered_attempt(script)).status == status
    assert len(heads) == 1


async def test_retry_after_is_handed_on_as_it_came() -> None:
    head = b"HTTP/1.1 503 x\r\nRetry-After: Sun, 01 Mar 2026 12:01:30 GMT\r\nContent-Length: 0\r\n"
    answer = await answered_attempt(respond(head + b"\r\n"))
    assert answer.retry_after == "Sun, 01 Mar 2026 12:01:30 GMT"


async def test_cookies_are_not_kept_and_the_connection_is() -> None:
    connections = itertools.count(1)
    heads: list[tuple[int, str]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(connections)
        while True:
            head, _ = await read_request(reader)
            heads.append((connection, head))
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok")

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        for _ in range(3):
            assert isinstance(await sender.post(url, {}, b"{}", TIMEOUT), Answered)
    assert [connection for connection, _ in heads] == [1, 1, 1]
    assert not any("cookie" in head for _, head in heads)


async def test_many_that_hang_do_not_keep_another_of_the_same_host_waiting() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        if "/slow" not in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        hanging = [sender.post(f"{url}/slow", {}, b"", 60) for _ in range(100)]
        slow = [asyncio.create_task(post) for post in hanging]
        assert isinstance(await sender.post(url, {}, b"", TIMEOUT), Answered)
        for request in slow:
            request.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_kept_connection_that_was_just_closed_fails_and_is_not_sent_again() -> None:
    heads: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""):
            head, _ = await read_request(reader)
            heads.append(head)
            writer.write(answer)

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        assert isinstance(await sender.post(url, {}, b"{}", TIMEOUT), Answered)
        assert reason_of(await sender.post(url, {}, b"{}", TIMEOUT)) == "reset"
    assert len(heads) == 2


async def test_a_port_that_does_not_listen_fails_to_connect() -> None:
    async with scripted_server(never_respond) as url:
        pass
    assert reason_of(await post_webhook(url)) == "connect"


async def test_an_unknown_name_fails_to_resolve() -> None:
    async def nobody(_: str) -> list[str]:
        return []

    async with WebhookSender(AddressGuard(LOOPBACK, nobody)) as sender:
        assert reason_of(await sender.post("http://sub.test/hook", {}, b"", TIMEOUT)) == "dns"


@pytest.mark.parametrize("host", ["10.0.0.1", "[::1]", "sub.test"])
async def test_an_address_that_must_not_be_dialled_is_blocked(host: str) -> None:
    async def inward(_: str) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    async with WebhookSender(AddressGuard(LOOPBACK, inward)) as sender:
        attempt = await sender.post(f"http://{host}:9/hook", {}, b"", TIMEOUT)
    assert reason_of(attempt) == "blocked"
    assert isinstance(attempt, Failed)
    assert attempt.detail.startswith("this address may not be called: ")


async def test_a_server_that_does_not_speak_tls_fails_at_tls() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with scripted_server(script) as url:
        assert reason_of(await post_webhook(url.replace("http", "https"))) == "tls"


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
async def test_what_is_no_url_cannot_be_sent_to(url: str) -> None:
    assert reason_of(await post_webhook(url)) == "request"


async def test_headers_that_would_break_the_request_are_not_sent() -> None:
    async with scripted_server(never_respond) as url:
        assert reason_of(await post_webhook(url, a="b\r\nc: d")) == "request"


async def test_after_closing_nothing_is_sent() -> None:
    sender = WebhookSender(AddressGuard(LOOPBACK))
    await sender.aclose()
    assert reason_of(await sender.post("http://127.0.0.1:65009/hook", {}, b"", TIMEOUT)) == "reset"


async def test_a_send_that_is_stopped_stops() -> None:
    arrived = asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await reader.read()

    async with scripted_server(script) as url:
        sending = asyncio.ensure_future(post_webhook(url))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
