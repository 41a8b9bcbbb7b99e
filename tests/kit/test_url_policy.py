"""The URL policy: which addresses, ports and URLs may be called."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.network.ports import Ports, parse_ports
from service.kit.network.url_policy import (
    Address,
    Networks,
    blocked_reason,
    check_url,
    parse_networks,
)
from tests.support.ip_addresses import ALL_NETWORKS, ALLOWLIST_ONLY, FORBIDDEN, PUBLIC


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_free(text: str) -> None:
    assert blocked_reason(ip_address(text), ()) is None


@pytest.mark.parametrize("text", ALLOWLIST_ONLY)
def test_an_inward_address_passes_only_when_allowed(text: str) -> None:
    assert blocked_reason(ip_address(text), ())
    assert blocked_reason(ip_address(text), ALL_NETWORKS) is None


@pytest.mark.parametrize("text", FORBIDDEN)
def test_some_addresses_are_refused_whatever_is_allowed(text: str) -> None:
    assert blocked_reason(ip_address(text), ())
    assert blocked_reason(ip_address(text), ALL_NETWORKS)


def test_an_allowed_network_opens_itself_and_nothing_beside_it() -> None:
    allowed = parse_networks("10.1.0.0/16, fd12::/16")
    assert blocked_reason(ip_address("10.1.2.3"), allowed) is None
    assert blocked_reason(ip_address("::ffff:10.1.2.3"), allowed) is None
    assert blocked_reason(ip_address("fd12::1"), allowed) is None
    assert blocked_reason(ip_address("10.2.0.1"), allowed)
    assert blocked_reason(ip_address("fd13::1"), allowed)


def test_one_refused_reading_behind_a_local_translator_is_enough() -> None:
    assert blocked_reason(ip_address("64:ff9b:1:7f00:0:100:808:808"), ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1", "private (RFC 1918)"),
        ("::ffff:127.0.0.1", "it carries an IPv4 address: loopback (RFC 1122)"),
        ("224.0.0.1", "multicast (RFC 5771)"),
        ("::", "unspecified (RFC 4291)"),
        ("::1", "loopback (RFC 4291)"),
        ("::1%lo", "an address with a zone"),
        ("fe80::1", "link-local (RFC 4291)"),
        ("febf::1", "link-local (RFC 4291)"),
        ("fe00::1", "reserved (IANA, IPv6 address space)"),
        ("fec0::1", "site-local, withdrawn (RFC 3879)"),
        ("feff::1", "site-local, withdrawn (RFC 3879)"),
        ("ff00::1", "multicast (RFC 4291)"),
        ("ffff::1", "multicast (RFC 4291)"),
    ],
)
def test_a_reason_says_what_the_address_is(text: str, reason: str) -> None:
    assert blocked_reason(ip_address(text), ()) == reason


@given(st.ip_addresses(v=4), st.sampled_from([(), ALL_NETWORKS]))
def test_an_ipv4_address_is_judged_the_same_in_every_disguise(
    address: IPv4Address, allowed: Networks
) -> None:
    bits = int(address)
    disguises = [
        IPv6Address(0xFFFF << 32 | bits),
        IPv6Address(0x64FF9B << 96 | bits),
        IPv6Address(0x2002 << 112 | bits << 80),
        IPv6Address(0x2001 << 112 | 0x08080808 << 64 | (~bits & 0xFFFFFFFF)),
    ]
    bare = blocked_reason(address, allowed) is None
    assert [blocked_reason(address, allowed) is None for address in disguises] == [bare] * 4


LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215


@given(st.ip_addresses())
def test_what_python_calls_local_is_never_free(address: Address) -> None:
    translated = isinstance(address, IPv6Address) and (  # judged by what it carries
        address.ipv4_mapped
        or address.teredo
        or address.sixtofour
        or address in LOCAL_NAT64
        or int(address) < 1 << 32
    )
    assert address.is_global or translated or blocked_reason(address, ())


def test_networks_stand_between_commas_or_spaces() -> None:
    networks = parse_networks(" 10.0.0.0/8,fd00::/8\n192.168.1.7 ")
    assert [str(network) for network in networks] == ["10.0.0.0/8", "fd00::/8", "192.168.1.7/32"]
    assert parse_networks("") == ()


@pytest.mark.parametrize("item", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "fe80::%eth0/64", "1"])
def test_a_bad_network_is_named(item: str) -> None:
    with pytest.raises(ValueError, match=item.partition("/")[0]):
        parse_networks(f"10.0.0.0/8 {item}")


def codes(
    url: str,
    *,
    https_only: bool = False,
    allowed: Networks | None = (),
    ports: Ports | None = None,
) -> list[str]:
    found = check_url(url, pointer="/url", https_only=https_only, allowed=allowed, ports=ports)
    assert all(error.pointer == "/url" and error.message for error in found)
    return [error.code for error in found]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/a/b?c=d#e",
        "HTTP://EXAMPLE.com:8080/",
        "http://my_service:9000/hook",
        "https://example.com./",
        "https://münchen.example/ü",
        "https://xn--mnchen-3ya.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:443/",
        "https://1.example/",
        "https://0x7f.example/",
        "https://example.com/" + "a" * 2028,
    ],
)
def test_a_url_that_can_be_called_has_no_findings(url: str) -> None:
    assert codes(url) == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "url_scheme"),
        ("example.com/x", "url_scheme"),
        ("//example.com/x", "url_scheme"),
        ("ftp://example.com/", "url_scheme"),
        ("file:///etc/passwd", "url_scheme"),
        ("javascript:alert(1)", "url_scheme"),
        ("https:example.com", "url_host"),
        ("https:///x", "url_host"),
        ("https://:443/", "url_host"),
        ("https://?x", "url_host"),
        ("https://user@example.com/", "url_userinfo"),
        ("https://user:secret@example.com/", "url_userinfo"),
        ("https://example.com@10.0.0.1/", "url_userinfo"),
        ("https://exa mple.com/", "url_malformed"),
        ("https://example.com/\n", "url_malformed"),
        ("\thttps://example.com/", "url_malformed"),
        ("https://example.com/\x7f", "url_malformed"),
        ("https://example.com/\u00a0", "url_malformed"),
        ("https://example.com/\u202e", "url_malformed"),
        ("https://example.com/\ud800", "url_malformed"),
        ("https://example.com\\@10.0.0.1/", "url_malformed"),
        ("https://[::1/", "url_malformed"),
        ("https://exam\u2100ple.com/", "url_malformed"),
        ("https://example.com:/", "url_host"),
        ("https://example.com:x/", "url_host"),
        ("https://example.com:123456/", "url_host"),
        ("https://example.com:65536/", "url_port"),
        ("https://example.com:0/", "url_port"),
        ("https://%31%32%37.0.0.1/", "url_host"),
        ("https://a..b/", "url_host"),
        ("https://.example.com/", "url_host"),
        ("https://example.com../", "url_host"),
        ("https://-a.example/", "url_host"),
        ("https://a!b.example/", "url_host"),
        ("https://" + "a" * 64 + ".example/", "url_host"),
        ("https://" + "a.b." * 70 + "example/", "url_host"),
        ("https://" + "ü" * 60 + "/", "url_host"),
        ("https://" + ".".join(["ü" * 25] * 8) + "/", "url_host"),
        ("https://example.com/" + "a" * (8193 - 20), "url_too_long"),
        ("https://127.0.0.1/", "url_address"),
        ("https://127.0.0.1./", "url_address"),
        ("https://１２７。０。０。１/", "url_address"),  # noqa: RUF001
        ("https://10.0.0.1:8443/", "url_address"),
        ("https://169.254.169.254/latest/meta-data", "url_address"),
        ("https://[::1]/", "url_address"),
        ("https://[::ffff:10.0.0.1]/", "url_address"),
        ("https://[FE80::1]/", "url_address"),
        ("https://[fe80::1%25eth0]/", "url_host"),
        ("https://2130706433/", "url_host"),
        ("https://127.1/", "url_host"),
        ("https://0177.0.0.1/", "url_host"),
        ("https://0x7f.1/", "url_host"),
        ("https://0x7f000001/", "url_host"),
        ("https://127.0.0.0x1/", "url_host"),
        ("https://127.0.0.1.5/", "url_host"),
        ("https://256.1.1.1/", "url_host"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused_by_name(url: str, code: str) -> None:
    assert codes(url) == [code]


@pytest.mark.parametrize("authority", ["[127.0.0.1]", "[::1]x", "[:::]"])
def test_brackets_hold_an_ipv6_address_and_nothing_else(authority: str) -> None:
    found = codes(f"https://{authority}/")
    assert found in (["url_host"], ["url_malformed"])  # newer Pythons do not even split these


def test_plain_http_is_refused_where_https_is_asked_for() -> None:
    assert codes("http://example.com/", https_only=True) == ["url_scheme"]
    assert codes("https://example.com/", https_only=True) == []


def test_only_the_ports_of_the_setting_may_be_named() -> None:
    assert codes("https://example.com/", ports=parse_ports("443")) == []
    assert codes("https://example.com:8443/", ports=parse_ports("443")) == ["url_port"]
    assert codes("http://example.com/", ports=parse_ports("443")) == ["url_port"]


def test_ports_stand_between_commas_or_spaces_alone_or_as_ranges() -> None:
    ports = parse_ports(" 80,443 1024-65535,7-7")
    among = [port for port in (1, 7, 80, 81, 443, 1023, 1024, 65535, 65536) if port in ports]
    assert among == [7, 80, 443, 1024, 65535]


@pytest.mark.parametrize(
    "text", ["", " , ", "0", "65536", "9-8", "80-", "-80", "1-2-3", "http", "٨٠"]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_ports(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = codes("http://127.0.0.1:81/", https_only=True, ports=parse_ports("443"))
    assert found == ["url_scheme", "url_port", "url_address"]


def test_an_allowed_literal_address_may_be_named() -> None:
    assert codes("http://127.0.0.1:8000/", allowed=parse_networks("127.0.0.0/8")) == []


def test_a_literal_address_can_be_left_to_the_dial() -> None:
    assert codes("http://127.0.0.1:8000/", allowed=None) == []
    assert codes("http://127.1:8000/", allowed=None) == ["url_host"]


@given(st.text() | st.text().map("https://{}/".format) | st.from_regex(r"https?://[\w.\[\]:%@-]*"))
def test_any_text_is_judged(url: str) -> None:
    codes(url)
