from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.targets import Address, Networks, check_url, parse_networks, refusal

EVERYTHING = parse_networks("0.0.0.0/0 ::/0")


def table(text: str) -> list[str]:
    """The words of some lines, without what stands after a #."""
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


FREE = table("""
    1.1.1.1 8.8.8.8
    9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
    191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
    2000:: 2001:200:: 2001:db7:ffff:: 2001:db9:: 2003:a00:1:: 2606:4700:4700::1111 3fff:1000::
    ::ffff:8.8.8.8 ::8.8.8.8 ::200.8.8.8 64:ff9b::8.8.8.8 64:ff9b:1::8.8.8.8 2002:808:808::1
    64:ff9b:1:808:8:800::         # 8.8.8.8 behind a prefix of 48 bits
    2001:0:808:808::f7f7:f7f7     # Teredo: 8.8.8.8 twice, the client's bits turned over
""")
ASKED_FOR = table("""
    10.0.0.0 10.255.255.255 127.0.0.0 127.0.0.1 127.255.255.255
    100.64.0.0 100.100.100.199 100.100.100.201 100.127.255.255
    172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255
    ::1 fc00:: fd12:3456::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fd00:ec2::253 fd00:ec2::255 fd20:ce::255 fd00:42::43
    ::ffff:127.0.0.1 ::ffff:a00:1 ::10.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::10.0.0.1
    64:ff9b:1:a00:0:100::         # 10.0.0.1 behind a prefix of 48 bits
    64:ff9b:1:a:0:1::             # of 56
    64:ff9b:1:0:a:0:100::         # of 64
    2002:7f00:1::1 2002:c0a8:101::
    2001:0:808:808::f5ff:fffe     # Teredo: client 10.0.0.1
    2001:0:a00:1::f7f7:f7f7       # server 10.0.0.1
""")
NEVER = table("""
    0.0.0.0 0.255.255.255 100.100.100.200 168.63.129.16
    169.254.0.0 169.254.169.254 169.254.255.255
    192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.1 192.0.2.255 192.88.99.1 192.88.99.255
    198.18.0.0 198.19.255.255 198.51.100.7 198.51.100.255 203.0.113.0 203.0.113.255
    224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.255
    :: ::2 100::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1
    2001:db8::1 2001:db8:ffff::1 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1
    fd00:ec2::254 fd20:ce::254 fd00:42::42
    fe00::1 fe80::1 fe80::1%eth0 ::1%eth0 febf:ffff::1 fec0::1 ff02::1 ff0e::1
    ::ffff:0.0.0.0 ::ffff:169.254.169.254 ::169.254.169.254
    ::ffff:0:8.8.8.8 ::fffe:8.8.8.8 ::1:808:808 64:ff9b::1:808:808   # beside the known forms
    64:ff9b::169.254.169.254 64:ff9b::c000:201 64:ff9b:2::8.8.8.8
    64:ff9b:1:: 64:ff9b:1::169.254.169.254 64:ff9b:1:a9fe:a9:fe00::
    2002:a9fe:a9fe::1 2002::1 2001:0:808:808::
    2001:0:4136:e378:8000:63bf:3fff:fdd2   # RFC 4380's own example: client 192.0.2.45
""")


@pytest.mark.parametrize("text", FREE)
def test_a_public_address_is_free(text: str) -> None:
    assert refusal(ip_address(text), ()) is None


@pytest.mark.parametrize("text", ASKED_FOR)
def test_an_inward_address_passes_only_when_allowed(text: str) -> None:
    assert refusal(ip_address(text), ())
    assert refusal(ip_address(text), EVERYTHING) is None


@pytest.mark.parametrize("text", NEVER)
def test_some_addresses_are_refused_whatever_is_allowed(text: str) -> None:
    assert refusal(ip_address(text), ())
    assert refusal(ip_address(text), EVERYTHING)


def test_an_allowed_network_opens_itself_and_nothing_beside_it() -> None:
    allowed = parse_networks("10.1.0.0/16, fd12::/16")
    assert refusal(ip_address("10.1.2.3"), allowed) is None
    assert refusal(ip_address("::ffff:10.1.2.3"), allowed) is None
    assert refusal(ip_address("fd12::1"), allowed) is None
    assert refusal(ip_address("10.2.0.1"), allowed)
    assert refusal(ip_address("fd13::1"), allowed)


def test_one_refused_reading_behind_a_local_translator_is_enough() -> None:
    assert refusal(ip_address("64:ff9b:1:7f00:0:100:808:808"), ())


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
    assert refusal(ip_address(text), ()) == reason


@given(st.ip_addresses(v=4), st.sampled_from([(), EVERYTHING]))
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
    bare = refusal(address, allowed) is None
    assert [refusal(one, allowed) is None for one in disguises] == [bare] * 4


@given(st.ip_addresses())
def test_what_python_calls_local_is_never_free(address: Address) -> None:
    translated = isinstance(address, IPv6Address) and (
        address.ipv4_mapped or address.teredo or int(address) < 1 << 32
    )
    assert address.is_global or translated or refusal(address, ())


def test_networks_stand_between_commas_or_spaces() -> None:
    networks = parse_networks(" 10.0.0.0/8,fd00::/8\n192.168.1.7 ")
    assert [str(one) for one in networks] == ["10.0.0.0/8", "fd00::/8", "192.168.1.7/32"]
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
    ports: range | None = None,
) -> list[str]:
    found = check_url(url, pointer="/url", https_only=https_only, allowed=allowed, ports=ports)
    assert all(one.pointer == "/url" and one.message for one in found)
    return [one.code for one in found]


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
        ("https://example.com/" + "a" * 2029, "url_too_long"),
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
    assert codes("https://example.com/", ports=range(443, 444)) == []
    assert codes("https://example.com:8443/", ports=range(443, 444)) == ["url_port"]
    assert codes("http://example.com/", ports=range(443, 444)) == ["url_port"]


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = codes("http://127.0.0.1:81/", https_only=True, ports=range(443, 444))
    assert found == ["url_scheme", "url_port", "url_address"]


def test_an_allowed_literal_address_may_be_named() -> None:
    assert codes("http://127.0.0.1:8000/", allowed=parse_networks("127.0.0.0/8")) == []


def test_a_literal_address_can_be_left_to_the_dial() -> None:
    assert codes("http://127.0.0.1:8000/", allowed=None) == []
    assert codes("http://127.1:8000/", allowed=None) == ["url_host"]


@given(st.text() | st.text().map("https://{}/".format) | st.from_regex(r"https?://[\w.\[\]:%@-]*"))
def test_any_text_is_judged(url: str) -> None:
    codes(url)
