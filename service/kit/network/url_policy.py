"""Policy against SSRF: which addresses may be dialled, and which URLs may name them.

Decided here alone; `kit/network/ssrf_guard.py` applies it where a socket is opened (promise 10 of
service/README.md). Python's `is_global` is not used: it takes NAT64, 6to4 and multicast addresses
for global, and the first two lead to private ones.
"""

import re
from collections.abc import Container
from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final
from urllib.parse import urlsplit

from service.kit.errors import FieldError
from service.kit.network.ports import MAX_PORT

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Networks = tuple[Network, ...]

MAX_URL = 8192  # characters; our limit: signed URLs have some 2,000
MAX_HOST = 253  # characters of a host name without the last dot; RFC 1035, section 2.3.4
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
STREAM_PORTS: Final = {"nats": 4222, "tls": 4222, "redis": 6379, "rediss": 6379}


class AddressClass(Enum):
    """When an address of a reserved network may be dialled."""

    NEVER = auto()  # not even in an allowed network
    ALLOWLIST = auto()  # only in an allowed network


# The first network that has the address decides, so exceptions stand before the networks that they
# are part of. An address in none of them is public; so is one whose class is None.
_V4: Final = tuple(
    (IPv4Network(network), address_class, what)
    for network, address_class, what in (
        ("0.0.0.0/8", AddressClass.NEVER, "'this network' (RFC 1122)"),
        ("127.0.0.0/8", AddressClass.ALLOWLIST, "loopback (RFC 1122)"),
        ("10.0.0.0/8", AddressClass.ALLOWLIST, "private (RFC 1918)"),
        ("172.16.0.0/12", AddressClass.ALLOWLIST, "private (RFC 1918)"),
        ("192.168.0.0/16", AddressClass.ALLOWLIST, "private (RFC 1918)"),
        ("100.100.100.200/32", AddressClass.NEVER, "a metadata service (Alibaba Cloud)"),
        ("100.64.0.0/10", AddressClass.ALLOWLIST, "shared address space (RFC 6598)"),
        ("168.63.129.16/32", AddressClass.NEVER, "a metadata service (Azure)"),
        ("169.254.0.0/16", AddressClass.NEVER, "link-local or metadata (RFC 3927)"),
        ("192.0.0.0/24", AddressClass.NEVER, "protocol assignments (RFC 6890)"),
        ("192.0.2.0/24", AddressClass.NEVER, "documentation (RFC 5737)"),
        ("198.51.100.0/24", AddressClass.NEVER, "documentation (RFC 5737)"),
        ("203.0.113.0/24", AddressClass.NEVER, "documentation (RFC 5737)"),
        ("192.88.99.0/24", AddressClass.NEVER, "6to4 relays, withdrawn (RFC 7526)"),
        ("198.18.0.0/15", AddressClass.NEVER, "benchmarking (RFC 2544)"),
        ("224.0.0.0/4", AddressClass.NEVER, "multicast (RFC 5771)"),
        ("240.0.0.0/4", AddressClass.NEVER, "reserved or broadcast (RFC 1112, RFC 919)"),
    )
)
_V6: Final = tuple(
    (IPv6Network(network), address_class, what)
    for network, address_class, what in (
        ("::/128", AddressClass.NEVER, "unspecified (RFC 4291)"),
        ("::1/128", AddressClass.ALLOWLIST, "loopback (RFC 4291)"),
        ("2001::/23", AddressClass.NEVER, "protocol assignments (RFC 2928)"),
        ("2001:db8::/32", AddressClass.NEVER, "documentation (RFC 3849)"),
        ("3fff::/20", AddressClass.NEVER, "documentation (RFC 9637)"),
        ("2000::/3", None, "global unicast (RFC 4291)"),
        ("fd00:ec2::254/128", AddressClass.NEVER, "a metadata service (AWS)"),
        ("fd00:ec2::23/128", AddressClass.NEVER, "a metadata service (AWS, pod identities)"),
        ("fd20:ce::254/128", AddressClass.NEVER, "a metadata service (Google Cloud)"),
        ("fd00:42::42/128", AddressClass.NEVER, "a metadata service (Scaleway)"),
        ("fc00::/7", AddressClass.ALLOWLIST, "unique-local (RFC 4193)"),
        ("fe80::/10", AddressClass.NEVER, "link-local (RFC 4291)"),
        ("fec0::/10", AddressClass.NEVER, "site-local, withdrawn (RFC 3879)"),
        ("ff00::/8", AddressClass.NEVER, "multicast (RFC 4291)"),
        ("::/0", AddressClass.NEVER, "reserved (IANA, IPv6 address space)"),
    )
)

# IPv6 networks whose addresses embed an IPv4 address, and how many bits stand to the right of it.
_EMBEDDING_IPV4: Final = tuple(
    (IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # mapped; RFC 4291, section 2.5.5.2
        ("64:ff9b::/96", 0),  # NAT64; RFC 6052, section 2.1
        ("2002::/16", 80),  # 6to4; RFC 3056, section 2
        ("::/96", 0),  # compatible; RFC 4291, section 2.5.5.1
    )
)
_NOT_COMPATIBLE: Final = (IPv6Address("::"), IPv6Address("::1"))
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_TEREDO: Final = IPv6Network("2001::/32")  # RFC 4380, section 4
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")  # RFC 1122: no destination

_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\[\]@:%]+)(:(?P<port>[0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_networks(text: str) -> Networks:
    """Networks in CIDR notation, or single addresses, between commas or blanks. A
    ValueError names the item that is neither."""
    return tuple(_network(item) for item in text.replace(",", " ").split())


def _network(item: str) -> Network:
    if "%" in item:
        raise ValueError(f"{item} has a zone, which no network can have")
    return ip_network(item)


def blocked_reason(address: Address, allowed: Networks) -> str | None:
    """Why this address must not be dialled, in a few words; None if it may be.

    For an IPv6 address that embeds IPv4 addresses those decide, all of them.
    """
    if isinstance(address, IPv4Address):
        return _reserved_reason(address, allowed)
    if address.scope_id is not None:
        return "an address with a zone"
    embedded = _embedded_ipv4(address)
    if not embedded:
        return _reserved_reason(address, allowed)
    reasons = (_reserved_reason(ipv4, allowed) for ipv4 in embedded)
    reason = next((reason for reason in reasons if reason is not None), None)
    return reason and f"it carries an IPv4 address: {reason}"


def in_networks(address: Address, networks: Networks) -> bool:
    """Whether an address is in one of these networks."""
    return any(address in network for network in networks)


def _reserved_reason(address: Address, allowed: Networks) -> str | None:
    table = _V4 if isinstance(address, IPv4Address) else _V6
    for network, address_class, what in table:
        if address in network:
            if address_class is AddressClass.ALLOWLIST and in_networks(address, allowed):
                return None
            return None if address_class is None else what
    return None


def _embedded_ipv4(address: IPv6Address) -> list[IPv4Address]:
    if address in _NOT_COMPATIBLE:
        return []
    bits = int(address)
    for network, shift in _EMBEDDING_IPV4:
        if address in network:
            return [_ipv4(bits >> shift)]
    if address in _TEREDO:  # the server, and the client with its bits inverted
        return [_ipv4(bits >> 64), _ipv4(~bits)]
    if address in _LOCAL_NAT64:
        return _local_nat64_ipv4(bits)
    return []


def _local_nat64_ipv4(bits: int) -> list[IPv4Address]:
    """Every IPv4 address that a NAT64 translator may find in an address of the local-use prefix.

    Only the operator knows the length of its prefix inside the /48, and for each length RFC 6052,
    section 2.2, puts the IPv4 address elsewhere. One in 0.0.0.0/8 cannot be meant; if all are, the
    IPv6 address counts as reserved like its neighbours.
    """
    joined = (bits >> 64 << 56) | (bits & (1 << 56) - 1)  # without bits 64 to 71, always zero
    candidates = [_ipv4(joined >> shift) for shift in (40, 32, 24)]  # prefixes of 48, 56, 64 bits
    candidates.append(_ipv4(bits))  # a prefix of 96 bits
    return [address for address in candidates if address not in _THIS_NETWORK]


def _ipv4(bits: int) -> IPv4Address:
    return IPv4Address(bits & 0xFFFF_FFFF)


def check_url(
    url: str,
    *,
    pointer: str,
    https_only: bool,
    allowed: Networks | None,
    ports: Container[int] | None = None,
) -> list[FieldError]:
    """What is wrong with a URL that is to be called, as errors at the JSON Pointer `pointer`; their
    messages lack the field's name, with which the caller begins the sentence.

    `ports` None means any port. A literal address is checked against `allowed`, unless that is
    None; a name only when it is dialled, by the addresses that it resolves to.
    """
    if len(url) > MAX_URL:
        return [FieldError(pointer, "url_too_long", f"must have at most {MAX_URL} characters")]
    if not url.isprintable() or " " in url or "\\" in url:
        message = "must have no spaces, control characters or backslashes"
        return [FieldError(pointer, "url_malformed", message)]
    try:
        scheme, authority, *_ = urlsplit(url)
    except ValueError:
        return [FieldError(pointer, "url_malformed", "must be a URL")]
    if scheme not in DEFAULT_PORTS:
        return [FieldError(pointer, "url_scheme", "must be an http or https URL")]
    problems = _authority_problems(scheme, authority, allowed, ports)
    if https_only and scheme != "https":
        problems.insert(0, ("url_scheme", "must be an https URL"))
    return [FieldError(pointer, *problem) for problem in problems if problem is not None]


_Problem = tuple[str, str]


def _authority_problems(
    scheme: str, authority: str, allowed: Networks | None, ports: Container[int] | None
) -> list[_Problem | None]:
    if "@" in authority:
        return [("url_userinfo", "must have no user name or password")]
    parts = _AUTHORITY.fullmatch(authority.lower())
    if parts is None:
        return [("url_host", "must have a host name or an address")]
    port = int(parts["port"] or DEFAULT_PORTS[scheme])
    return [_port_problem(port, ports), _host_problem(parts["host"], allowed)]


def _port_problem(port: int, ports: Container[int] | None) -> _Problem | None:
    if port not in range(1, MAX_PORT + 1):
        return "url_port", f"must have a port from 1 to {MAX_PORT}"
    if ports is not None and port not in ports:
        return "url_port", f"must not have port {port}, which is not open to URLs here"
    return None


@lru_cache(maxsize=1024)  # URLs name few hosts, and this is most of what a check costs
def _host_problem(host: str, allowed: Networks | None) -> _Problem | None:
    try:
        address = _literal_address(host)
    except ValueError as error:
        return "url_host", str(error)
    if address is None or allowed is None:
        return None
    reason = blocked_reason(address, allowed)
    return ("url_address", f"must not have this address: {reason}") if reason else None


def _literal_address(host: str) -> Address | None:
    """The address that a host is, None if it is a name; ValueError if it is neither.

    A host whose last label is a number is an address to every resolver (WHATWG URL, "ends in a
    number"), in decimal, octal or hexadecimal: only the dotted decimal form is taken.
    """
    if host.startswith("["):
        return _parse_address(IPv6Address, host[1:-1])
    name = _to_idna(host).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _parse_address(IPv4Address, name)
    if len(name) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must have a host name or an address")
    return None


def _parse_address(kind: type[Address], text: str) -> Address:
    try:
        return kind(text)
    except ValueError:
        raise ValueError("must have its address as a.b.c.d or in brackets") from None


def _to_idna(host: str) -> str:
    """The host in ASCII (IDNA), its labels of at most 63 characters: after this full-width
    digits and dots hide no address."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        raise ValueError("must have a host name or an address") from None
