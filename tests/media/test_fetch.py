"""Fetching media: the whole file from the URL that was given, or a reason why not."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.kit.network.ports import parse_ports
from service.kit.network.ssrf_guard import AddressGuard
from service.local.ports import free_port
from service.media.domain.defects import Defect
from service.media.remote.fetch import MAX_PIECE, MAX_REDIRECTS, Fetched, Fetcher
from tests.support.media_fetches import (
    MAX_BYTES,
    PATH,
    CollectedBody,
    code_of,
    failure_code,
    fetch_media,
    fetched_bytes,
    media_server,
    redirect_to,
    reset_connection,
)
from tests.support.name_resolution import (
    LOOPBACK_ONE_ADDRESS,
    LOOPBACK_V4_AND_V6,
    Resolver,
    tls_contexts,
)
from tests.support.raw_servers import http_response

START = b"HTTP/1.1 200 OK\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def test_a_file_comes_whole_and_in_pieces() -> None:
    body = bytes(range(256)) * 300
    assert await fetched_bytes(http_response(body)) == body
    assert await fetched_bytes(chunked(body)) == body
    assert await fetched_bytes(START + b"\r\n" + body) == body, "its end is the connection's"
    assert await fetched_bytes(http_response()) == b""


async def test_a_request_is_plain_and_asks_for_no_encoding() -> None:
    async with media_server(http_response(b"x")) as host:
        await fetch_media(host.url + PATH)
    (head,) = host.request_heads
    line, *headers = head.strip().split("\r\n")
    assert line == f"get {PATH} http/1.1"
    assert sorted(headers) == [
        "accept-encoding: identity",
        "accept: */*",
        f"host: {host.url.removeprefix('http://')}",
        "user-agent: callsheet",
    ]


@pytest.mark.parametrize("form", [http_response, chunked, lambda body: START + b"\r\n" + body])
async def test_a_file_at_the_limit_comes_and_one_byte_more_does_not(form: object) -> None:
    assert callable(form)
    assert len(await fetched_bytes(form(bytes(MAX_BYTES)))) == MAX_BYTES
    body = CollectedBody()
    async with media_server(form(bytes(MAX_BYTES + 1))) as host:
        assert code_of(await fetch_media(host.url + PATH, body.feed)) == "too_large"
    assert len(body.data) <= MAX_BYTES


async def test_ten_million_bytes_pass_and_one_more_does_not() -> None:
    assert len(await fetched_bytes(http_response(bytes(10_000_000)), most=10_000_000)) == 10_000_000
    async with media_server(chunked(bytes(10_000_001))) as host:
        result = await fetch_media(host.url + PATH, most=10_000_000)
    assert result == Defect("too_large", "has more than 10,000,000 bytes (10 MB)")


async def test_a_body_declared_too_large_is_not_read() -> None:
    left = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_response(length=MAX_BYTES + 1))
        await reader.read()
        left.set()

    async with media_server(script) as host:
        assert code_of(await fetch_media(host.url + PATH)) == "too_large"
        async with asyncio.timeout(10):
            await left.wait()


async def test_no_more_is_fetched_than_the_consumer_wants() -> None:
    body = CollectedBody(max_bytes=1)
    async with media_server(http_response(bytes(MAX_BYTES))) as host:
        result = await fetch_media(host.url + PATH, body.feed)
    assert isinstance(result, Fetched)
    assert result.size == len(body.data) <= MAX_PIECE < MAX_BYTES


STATUSES = {
    "not_found": (404, 410),
    "refused": (201, 204, 206, 300, 304, 400, 401, 402, 403, 405, 416, 451),
    "unreachable": (408, 425, 429, 500, 502, 503, 504, 599),
}


@pytest.mark.parametrize(
    ("status", "expected"),
    [(status, code) for code, statuses in STATUSES.items() for status in statuses],
)
async def test_a_status_says_why_it_does_not_come(status: int, expected: str) -> None:
    bare = f"HTTP/1.1 {status} x\r\nConnection: close\r\n\r\n".encode()
    async with media_server(bare) as host:
        result = await fetch_media(host.url + PATH)
    assert code_of(result) == expected
    assert str(status) in str(result)


async def test_a_host_that_is_not_there_may_come_back() -> None:
    assert code_of(await fetch_media(f"http://127.0.0.1:{free_port()}{PATH}")) == "unreachable"
    assert await failure_code(reset_connection) == "unreachable"
    nowhere = AddressGuard(LOOPBACK_V4_AND_V6, Resolver([]))
    assert (
        code_of(await fetch_media(f"http://sub.test{PATH}", by=Fetcher(nowhere))) == "unreachable"
    )


async def test_a_certificate_that_is_not_trusted_is_not_accepted(tmp_path: Path) -> None:
    serving, _ = tls_contexts("sub.test", tmp_path)
    async with media_server(http_response(b"x"), serving) as host:
        url = host.url.replace("http://127.0.0.1", "https://sub.test") + PATH
        result = await fetch_media(
            url, by=Fetcher(AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["127.0.0.1"])))
        )
    assert "TLS" in str(result)
    assert host.request_heads == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with media_server(http_response(b"the proxy's")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert await fetched_bytes(http_response(b"x")) == b"x"
    assert proxy.request_heads == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    body = CollectedBody()
    async with media_server(http_response(b"here")) as second:
        pages = {
            PATH: redirect_to("/b?c=d", status),
            "/b?c=d": redirect_to(f"{second.url}/e", status),
        }
        async with media_server(pages) as first:
            assert await fetch_media(first.url + PATH, body.feed) == Fetched(4)
    assert body.data == b"here"
    assert [head.split()[1] for head in second.request_heads] == ["/e"]


async def test_so_many_redirects_are_followed_and_no_more() -> None:
    def pages(count: int) -> dict[str, bytes]:
        hops = {f"/{number}": redirect_to(f"/{number + 1}") for number in range(count)}
        return hops | {f"/{count}": http_response(b"x")}

    async with media_server(pages(MAX_REDIRECTS)) as host:
        assert await fetch_media(f"{host.url}/0") == Fetched(1)
    async with media_server(pages(MAX_REDIRECTS + 1)) as host:
        assert code_of(await fetch_media(f"{host.url}/0")) == "redirect"
    async with media_server(redirect_to("/0")) as host:
        assert code_of(await fetch_media(f"{host.url}/0")) == "redirect"
    assert len(host.request_heads) == MAX_REDIRECTS + 1, "a loop ends as well"


async def test_no_cookie_is_carried_along() -> None:
    pages = {PATH: redirect_to("/b", headers="Set-Cookie: a=b\r\n"), "/b": http_response(b"x")}
    async with media_server(pages) as host:
        assert await fetch_media(host.url + PATH) == Fetched(1)
    assert not any("cookie" in head or "referer" in head for head in host.request_heads)


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "//user:word@127.0.0.1/a",
        "http://2130706433/",
        "http://127.1/",
        "http://[::1",
        "http://a b/",
        "http://127.0.0.1:0/",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "/" + "x" * 9000,
        "",
    ],
)
async def test_a_redirect_to_what_is_no_plain_web_address_is_not_followed(location: str) -> None:
    async with media_server(redirect_to(location)) as host:
        assert code_of(await fetch_media(host.url + PATH)) == "redirect"
    assert len(host.request_heads) == 1


INWARD = [
    "http://127.0.0.2:{port}/",
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://0.0.0.0:{port}/",
    "http://inward.test:{port}/",
]


@pytest.mark.parametrize("target", INWARD)
async def test_nothing_inward_is_dialled_neither_at_once_nor_after_a_redirect(target: str) -> None:
    inward = await asyncio.start_server(lambda *_: pytest.fail("dialled"), "127.0.0.2", 0)
    async with inward:
        url = target.format(port=inward.sockets[0].getsockname()[1])
        guard = AddressGuard(LOOPBACK_ONE_ADDRESS, Resolver(["127.0.0.2"]))
        assert code_of(await fetch_media(url, by=Fetcher(guard))) == "blocked"
        async with media_server(redirect_to(url)) as host:
            assert code_of(await fetch_media(host.url + PATH, by=Fetcher(guard))) == "blocked"


async def test_a_name_that_turns_inward_on_the_way_is_not_dialled_again() -> None:
    names = Resolver(["127.0.0.1"], ["127.0.0.2"])
    async with media_server(redirect_to("/again", headers="Connection: close\r\n")) as host:
        url = host.url.replace("127.0.0.1", "sub.test") + PATH
        assert (
            code_of(await fetch_media(url, by=Fetcher(AddressGuard(LOOPBACK_ONE_ADDRESS, names))))
            == "blocked"
        )
    assert names.lookups == ["sub.test", "sub.test"]
    assert len(host.request_heads) == 1


async def test_a_port_that_is_not_open_to_urls_is_not_dialled() -> None:
    async with (
        media_server(http_response(b"x")) as closed,
        media_server(redirect_to(f"{closed.url}/")) as host,
    ):
        port = host.url.rpartition(":")[2]
        guard = AddressGuard(LOOPBACK_V4_AND_V6, ports=parse_ports(port))
        assert code_of(await fetch_media(closed.url + PATH, by=Fetcher(guard))) == "blocked"
        assert code_of(await fetch_media(host.url + PATH, by=Fetcher(guard))) == "blocked"
    assert closed.request_heads == []


async def test_https_is_not_given_up_on_the_way(tmp_path: Path) -> None:
    serving, trusting = tls_contexts("sub.test", tmp_path)
    async with media_server(http_response(b"plain")) as plain:
        pages = {
            PATH: redirect_to(f"{plain.url}/"),
            "/up": redirect_to("/b"),
            "/b": http_response(b"x"),
        }
        async with media_server(pages, serving) as host:
            base = host.url.replace("http://127.0.0.1", "https://sub.test")
            guard = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["127.0.0.1"]))
            assert (
                code_of(await fetch_media(base + PATH, by=Fetcher(guard, tls=trusting)))
                == "redirect"
            )
            assert await fetch_media(f"{base}/up", by=Fetcher(guard, tls=trusting)) == Fetched(1)
            async with media_server(redirect_to(f"{base}/b")) as http:
                assert await fetch_media(http.url, by=Fetcher(guard, tls=trusting)) == Fetched(1)
    assert plain.request_heads == []


async def test_a_url_that_cannot_be_asked_for_is_none() -> None:
    for url in ("file:///etc/passwd", "http://a b/", "http://user:word@127.0.0.1/", "nonsense"):
        assert code_of(await fetch_media(url)) == "url"


async def test_a_name_whose_servers_hang_is_given_up() -> None:
    async def hanging(host: str) -> Sequence[str]:
        await asyncio.sleep(3600)
        raise socket.gaierror(socket.EAI_AGAIN, host)

    guard = AddressGuard(LOOPBACK_V4_AND_V6, hanging, resolve_seconds=0.05)
    assert code_of(await fetch_media(f"http://sub.test{PATH}", by=Fetcher(guard))) == "unreachable"
