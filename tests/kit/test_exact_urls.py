"""URLs are asked for in the letters that were given, by all that goes out, and never inward."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.remote.outcomes import Answered
from service.delivery.remote.webhook import WebhookSender
from service.kit.network.exact_urls import exact_url, redirect_target
from service.kit.network.ssrf_guard import AddressGuard
from service.media.remote.fetch import Fetched, Fetcher
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderApiKey
from tests.support.clock import Clock
from tests.support.media_fetches import PATH, code_of, fetch_media, media_server, redirect_to
from tests.support.name_resolution import LOOPBACK_ONE_ADDRESS, Resolver
from tests.support.provider_client import NOW, TASK_RECORD
from tests.support.raw_servers import (
    LOOPBACK,
    TIMEOUT,
    envelope_response,
    http_response,
    raw_server,
    scripted_server,
)

LETTERS = [
    "/a%27b.png?sig=AB%2Fcd%2B1%3D",
    "/a.png?policy=%7E%28x%29",
    "/a%40b.png?k=v%3Aw",
    "/%28copy%29.png",
    "/a/%2E%2E/b.png",
    "/a.png?e=%C3%A9&f=%c3%a9",
    "/a.png?",
    "/a.png;?a=b?c=/d",
    "/a//b/./c/../d.png;e",
    "/?q='(x)*!&a[]=1&b=%",
    "/100%.png?x=%zz",
    "/a+b%20c%2B.png?a+b=c%20d",
]


@pytest.mark.parametrize("letters", LETTERS)
async def test_media_are_asked_for_in_the_letters_that_were_given(letters: str) -> None:
    async with media_server({letters: http_response(b"x")}) as host:
        assert await fetch_media(host.url + letters) == Fetched(1)
        assert await fetch_media(f"{host.url}{letters}#part") == Fetched(1)


@pytest.mark.parametrize("letters", LETTERS)
async def test_a_redirect_is_followed_in_the_letters_of_its_location(letters: str) -> None:
    async with media_server({letters: http_response(b"x")}) as other:
        pages = {
            PATH: redirect_to(letters),
            letters: http_response(b"x"),
            "/absolute": redirect_to(other.url + letters),
            "/without-scheme": redirect_to(other.url.removeprefix("http:") + letters + "#part"),
        }
        async with media_server(pages) as host:
            for path in (PATH, "/absolute", "/without-scheme"):
                assert await fetch_media(host.url + path) == Fetched(1)


@pytest.mark.parametrize("letters", LETTERS)
async def test_subscribers_are_posted_to_in_the_letters_they_gave(letters: str) -> None:
    lines: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with scripted_server(script) as url, WebhookSender(AddressGuard(LOOPBACK)) as sender:
        attempt = await sender.post(url.removesuffix("/hook") + letters, {}, b"", TIMEOUT)
    assert isinstance(attempt, Answered)
    assert lines == [f"POST {letters} HTTP/1.1\r\n"]


async def test_the_provider_is_called_in_the_letters_of_its_url() -> None:
    async with raw_server([envelope_response(0, "", TASK_RECORD)]) as server:
        url = f"{server.url}/%7Ea%2Fb/%2E%2E/"
        provider = ProviderClient(url, ProviderApiKey("sk-secret"), 30.0, Clock(NOW))
        try:
            await provider.look_up("ours/%7E")
        finally:
            await provider.aclose()
    path = "/%7Ea%2Fb/%2E%2E/v1/general/advanced-custom-elements/ours%2F%257E"
    assert [request.line for request in server.requests] == [f"GET {path} HTTP/1.1"]


ESCAPED = [
    ("/my photo.png", "/my%20photo.png"),
    ("/a.png?b= c ", "/a.png?b=%20c"),
    (" /a.png\t", "/a.png"),
    ("/a\tb.png", "/ab.png"),
    ("/a\x01\x7fb.png", "/a%01%7Fb.png"),
    ("/caf\xe9.png", "/caf%E9.png"),
    ("/caf\xc3\xa9.png", "/caf%C3%A9.png"),
    ('/a"<b>`{c}|^.png', "/a%22%3Cb%3E%60%7Bc%7D%7C%5E.png"),
    ("/a\\b.png", "/a%5Cb.png"),
    ("/\\10.0.0.1/b.png", "/%5C10.0.0.1/b.png"),
]


@pytest.mark.parametrize(("location", "requested"), ESCAPED)
async def test_what_a_location_may_not_have_is_escaped_as_browsers_do(
    location: str, requested: str
) -> None:
    async with media_server({PATH: redirect_to(location), requested: http_response(b"x")}) as host:
        assert await fetch_media(host.url + PATH) == Fetched(1)
    async with (
        media_server(http_response(b"x")) as other,
        media_server(redirect_to(other.url + location.strip())) as host,
    ):
        assert await fetch_media(host.url + PATH) == Fetched(1)
    assert [head.split()[1] for head in other.request_heads] == [requested.lower()]


async def test_what_a_callers_url_may_not_have_is_escaped_in_utf_8() -> None:
    async with media_server({"/caf%C3%A9.png?%E2%82%AC=%7C": http_response(b"x")}) as host:
        assert await fetch_media(f"{host.url}/café.png?€=|") == Fetched(1)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/x", "/x"),
        ("x", "/a/b/x"),
        ("x?y=../z", "/a/b/x?y=../z"),
        ("?x", "/a/b/c?x"),
        ("./x", "/a/b/x"),
        ("../x;y", "/a/x;y"),
        ("../../../x", "/x"),
        ("..", "/a/"),
        (".", "/a/b/"),
        ("x/", "/a/b/x/"),
        ("%2E%2E/x", "/a/b/%2E%2E/x"),
        ("#part", "/a/b/c?d=/e/"),
        ("//Other.test/x", None),
        ("HTTP://Other.test/x", None),
    ],
)
def test_a_location_is_relative_to_where_it_was_met(location: str, expected: str | None) -> None:
    led = redirect_target("http://sub.test:81/a/b/c?d=/e/", location)
    if expected is None:
        assert str(exact_url(led)) == "http://other.test/x"
    else:
        assert led == f"http://sub.test:81{expected}"


ODDLY_INWARD = [
    "http://%31%32%37.0.0.2:{port}/",
    "http://127.0.0.2%2f:{port}/",
    "http://１２７.０.０.２:{port}/",  # noqa: RUF001 - that is the trick
    "http://127。0。0。2:{port}/",
    "http:\\\\127.0.0.2:{port}\\",
    "http:/\\127.0.0.2:{port}/",
    "http://127.0.0.1:{port}\\@127.0.0.2:{port}/",
    "http://127.0.0.1@127.0.0.2:{port}/",
    "http://127.0.0.1#@127.0.0.2:{port}/",
    "http://127.0.0.1?@127.0.0.2:{port}/",
    "ht\ttp://127.0.0.2:{port}/",
    "http:\t//127.0.0.2:{port}/",
    "\x01http://127.0.0.2:{port}/",
    "http:127.0.0.2:{port}/",
    "http:///127.0.0.2:{port}/",
    "//127.0.0.2:{port}/",
    "/\t/127.0.0.2:{port}/",
    "///127.0.0.2:{port}/",
    "\\\\127.0.0.2:{port}\\",
    "http://[::ffff:127.0.0.2]:{port}/",
    "http://0x7f000002:{port}/",
    "http://ⓘnward.test:{port}/",
    "http://inward.test\xe9:{port}/",
]


@pytest.mark.parametrize("target", ODDLY_INWARD)
async def test_nothing_inward_is_dialled_however_oddly_it_is_written(target: str) -> None:
    inward = await asyncio.start_server(lambda *_: pytest.fail("dialled"), "127.0.0.2", 0)
    async with inward:
        port = inward.sockets[0].getsockname()[1]
        location = target.format(port=port).encode()
        redirect = b"HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % location
        guard = AddressGuard(LOOPBACK_ONE_ADDRESS, Resolver(["127.0.0.2"]))
        async with media_server(redirect) as host:
            came = await fetch_media(host.url + PATH, by=Fetcher(guard), seconds=5)
        assert code_of(came) in {"blocked", "redirect", "unreachable"}
        url = location.decode()
        async with WebhookSender(
            AddressGuard(LOOPBACK_ONE_ADDRESS, Resolver(["127.0.0.2"]))
        ) as sender:
            assert not isinstance(await sender.post(url, {}, b"", 5), Answered)


TEXTS = st.text(st.characters(codec="latin-1") | st.sampled_from("/?#%;:@.[]\\ "), max_size=30)


@given(TEXTS)
def test_whatever_a_location_says_what_is_asked_for_is_one_line_of_ascii(location: str) -> None:
    try:
        requested = exact_url(redirect_target("http://sub.test/a/b?c", location)).raw_path_qs
    except ValueError:
        return
    assert requested.startswith("/")
    assert requested.isascii()
    assert not set(requested) & set(map(chr, [*range(0x21), 0x7F]))


@given(st.text(st.sampled_from("azAZ09-._~:/?[]@!$&'()*+,;=%")))
def test_what_a_url_may_have_is_never_changed(letters: str) -> None:
    assert exact_url(f"http://sub.test/{letters}").raw_path_qs == f"/{letters}"
    assert redirect_target("http://sub.test/a", f"/.{letters}") == f"http://sub.test/.{letters}"
