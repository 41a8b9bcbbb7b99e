"""Hosts that would hold a fetch for ever, or fill the memory of whoever fetches."""

import asyncio
import gzip
import tracemalloc

import pytest

from service.kit.network.ssrf_guard import AddressGuard
from service.media.remote import fetch as media_fetch
from service.media.remote.fetch import Fetched, Fetcher
from tests.support.media_fetches import (
    PATH,
    CollectedBody,
    code_of,
    failure_code,
    fetch_media,
    fetched_bytes,
    media_server,
)
from tests.support.raw_servers import (
    LOOPBACK,
    SHORT_TIMEOUT,
    Script,
    http_response,
    never_respond,
    send_at_once_endlessly,
)

GOOD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = GOOD + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = 40_000_000

TOO_LONG: dict[str, Script] = {
    "nothing at all": never_respond,
    "a trickled head": send_at_once_endlessly(GOOD + b"x: ", b"y", 0.01),
    "trickled headers": send_at_once_endlessly(GOOD, b"x: y\r\n", 0.02),
    "trickled bytes": send_at_once_endlessly(GOOD + b"Content-Length: 90000\r\n\r\n", b"x", 0.01),
    "trickled chunks": send_at_once_endlessly(CHUNKED, b"1\r\nx\r\n", 0.01),
    "trickled interim answers": send_at_once_endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
}


@pytest.mark.parametrize("kind", TOO_LONG)
async def test_what_takes_too_long_is_given_up(kind: str) -> None:
    assert await failure_code(TOO_LONG[kind], seconds=SHORT_TIMEOUT) == "unreachable"


async def test_a_host_that_falls_silent_is_given_up_before_the_time_is_up() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_response(b"half", length=8))
        await reader.read()

    for page in (half, never_respond):
        impatient = Fetcher(AddressGuard(LOOPBACK), idle_seconds=0.1)
        assert await failure_code(page, impatient) == "unreachable"


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"),
        (GOOD + b"\r\n", b"x" * 1024),
    ],
)
async def test_an_endless_body_is_cut(start: bytes, part: bytes) -> None:
    assert await failure_code(send_at_once_endlessly(start, part)) == "too_large"


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (CHUNKED, b"1\r\nx\r\n" * 1000),
        (CHUNKED, b"1;" + b"x" * 4096 + b"\r\nx\r\n"),
        (CHUNKED + b"1;", b"x" * 4096),
        (CHUNKED, b"0" * 4096),
    ],
)
async def test_what_is_wrapping_more_than_body_is_cut(start: bytes, part: bytes) -> None:
    """None of it counts as the body, and all of it is work."""
    assert await failure_code(send_at_once_endlessly(start, part)) in {"unreachable", "protocol"}


async def test_a_host_slower_than_the_least_rate_is_given_up_before_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media_fetch, "MIN_RATE_AFTER", 0.1)
    slow = send_at_once_endlessly(GOOD + b"Content-Length: 90000\r\n\r\n", b"x", 0.01)
    assert await failure_code(slow, seconds=3600) == "unreachable"


@pytest.mark.parametrize(
    "page",
    [
        http_response(b"short", length=50_000),
        CHUNKED + b"4\r\npart\r\n",
        CHUNKED + b"400\r\npart",
    ],
)
async def test_less_than_was_said_is_not_taken_for_the_whole(page: bytes) -> None:
    assert await failure_code(page) == "unreachable"


async def test_of_more_than_was_said_nothing_is_taken_beyond_it() -> None:
    body = CollectedBody()
    async with media_server(http_response(b"four and more", length=4)) as host:
        await fetch_media(host.url + PATH, body.feed)
    assert body.data in {b"four", b""}, "the rest may show in time that this is not HTTP"


ENDLESS_HEADS: dict[str, bytes | Script] = {
    "a huge header": GOOD + b"x: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "a huge status line": b"HTTP/1.1 200 " + b"x" * 1_000_000 + b"\r\n\r\n",
    "endless headers": send_at_once_endlessly(GOOD, b"x: y\r\n"),
    "many large headers": send_at_once_endlessly(GOOD, b"x: " + b"y" * 4000 + b"\r\n"),
    "interim answers without end": send_at_once_endlessly(
        b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500
    ),
    "interim answers one by one": send_at_once_endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS_HEADS)
async def test_a_head_without_end_is_not_read_to_it(kind: str) -> None:
    assert await failure_code(ENDLESS_HEADS[kind]) in {"protocol", "unreachable"}


NOT_HTTP = {
    "words": b"hello\r\n\r\n",
    "binary": b"\x16\x03\x01\x02\x00" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n" * 100,
    "a huge status": b"HTTP/1.1 999999 x\r\n\r\n",
    "a negative length": GOOD + b"Content-Length: -5\r\n\r\n",
    "two lengths": GOOD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length and chunks": GOOD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a chunk that is none": CHUNKED + b"words\r\n",
}


@pytest.mark.parametrize("kind", NOT_HTTP)
async def test_what_is_not_http_is_no_answer(kind: str) -> None:
    assert await failure_code(NOT_HTTP[kind]) == "protocol"


async def test_a_status_that_needs_no_body_stands_whatever_is_odd_about_it() -> None:
    odd = b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"
    assert await failure_code(b"HTTP/1.1 404 Gone\r\n" + odd) == "not_found"
    assert await failure_code(b"HTTP/1.1 302 Found\r\nLocation: ftp://a\r\n" + odd) == "redirect"


@pytest.mark.parametrize(
    "encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "aws-chunked,gzip"]
)
async def test_what_comes_compressed_is_not_unpacked(encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    packed = http_response(bomb, headers=f"Content-Encoding: {encoding}\r\n")
    body = CollectedBody()
    async with media_server(packed) as host:
        assert code_of(await fetch_media(host.url + PATH, body.feed)) == "encoded"
    assert body.data == b""


@pytest.mark.parametrize(
    "encoding", ["identity", "aws-chunked", "none", "binary", "UTF-8", "", " , "]
)
async def test_a_word_that_names_no_coding_changes_nothing(encoding: str) -> None:
    assert (
        await fetched_bytes(http_response(b"x", headers=f"Content-Encoding: {encoding}\r\n"))
        == b"x"
    )


async def test_a_coding_is_found_in_any_header_line() -> None:
    headers = "Content-Encoding: aws-chunked\r\nContent-Encoding: X-GZIP\r\n"
    assert await failure_code(http_response(b"x", headers=headers)) == "encoded"


async def test_a_large_file_is_never_held_whole() -> None:
    part = bytes(500_000)

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD + b"Content-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // len(part)):
            writer.write(part)
            await writer.drain()

    async def feed(piece: bytes) -> bool:
        await asyncio.sleep(0)  # slower than the host
        return bool(piece)

    async with media_server(script) as host:
        tracemalloc.start()
        try:
            assert await fetch_media(host.url + PATH, feed, most=LARGE) == Fetched(LARGE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < LARGE / 8
