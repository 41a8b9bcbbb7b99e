"""The SSRF guard: the only way out to addresses that strangers choose.

A name is resolved here, each of its addresses is checked by `url_policy.py`, and exactly those are
dialled, whatever DNS says later. When the socket is opened its address is checked once more, so
that literal addresses, which no resolver sees, meet the same rule (promise 10).
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from ipaddress import ip_address
from time import perf_counter
from typing import Final, TypeVar

from aiohttp import AddrInfoType, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from service.kit.network.bounded_http import HEAD_LIMITS, BoundedConnector
from service.kit.network.url_policy import Networks, blocked_reason, in_networks

DEFAULT_HEADERS: Final = {"User-Agent": "Callsheet", "Accept-Encoding": "identity"}
RESOLVE_SECONDS: Final = 5.0  # one try of a usual stub resolver
MAX_ADDRESSES: Final = 8  # of a name that are dialled; all are checked
LOOKUP_THREADS: Final = 32  # look-ups at a time; the event loop's own pool is small and shared
# An unused connection is kept for less than servers usually keep it (Node, Apache, uvicorn: 5 s),
# so that a request seldom meets one that is just being closed.
IDLE_SECONDS: Final = 4.0
QUICK_SECONDS: Final = 1.0  # a look-up within this was probably cached by the resolver
MAX_QUICK: Final = 10_000  # names that are remembered as quick
CONNECT_SECONDS: Final = 2.0  # to one address of a name, if there are others to try

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)
Lookup = Callable[[str], Awaitable[Sequence[str]]]


class BlockedAddress(OSError):
    """This address must not be dialled. The message says why, without naming the address.

    It is an OSError, as the system's own refusal to connect is.
    """


class AddressGuard:
    """Resolves names, and dials addresses and ports that are allowed.

    `allowed` are the networks of the allowlist; `ports` None means any port. `lookup` returns the
    addresses of a name as text; None: the system's resolver.
    """

    def __init__(
        self,
        allowed: Networks,
        lookup: Lookup | None = None,
        resolve_seconds: float = RESOLVE_SECONDS,
        *,
        ports: Container[int] | None = None,
    ) -> None:
        self._allowed = allowed
        self._ports = ports
        self._lookup = lookup or _threaded_lookup()
        self._resolve_seconds = resolve_seconds
        self._lookups: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._only_allowed = False

    def only_allowed_networks(self) -> "AddressGuard":
        """A guard that admits addresses in allowed networks only, for what is not encrypted; it
        shares the look-ups of this one.

        It is applied at each dial: a name that led to an allowed network when its URL was accepted
        may lead anywhere later.
        """
        narrowed = copy(self)
        narrowed._only_allowed = True  # noqa: SLF001 - its own
        return narrowed

    async def resolve(self, host: str) -> list[str]:
        """The addresses at which `host` (a name or a literal address) may be dialled.

        BlockedAddress if any of them is refused; another OSError if there are none in time.
        Nothing is cached: the next call resolves the name again.
        """
        try:
            async with asyncio.timeout(self._resolve_seconds):
                addresses = await asyncio.shield(self._look_up(host))
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        except ValueError:  # getaddrinfo for a name that cannot be encoded
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for address in addresses:
            self.check_address(address)
        return list(dict.fromkeys(addresses))[:MAX_ADDRESSES]

    def check_address(self, address: str) -> None:
        """BlockedAddress if this literal address must not be dialled."""
        try:
            parsed = ip_address(address)
            reason = blocked_reason(parsed, self._allowed)
            if self._only_allowed and not in_networks(parsed, self._allowed):
                reason = reason or "what is sent to it must be encrypted"
        except ValueError:
            reason = "not a plain address"
        if reason is not None:
            raise BlockedAddress(f"this address may not be called: {reason}")

    async def dial(
        self,
        make_protocol: Callable[[], ProtocolT],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> ProtocolT:
        """A connection to `host` (a name or a literal address), and the protocol that
        `make_protocol` makes for it. With `tls` the certificate must be for `host`.

        An OSError if none of its addresses answers. There is no time-out for the last one: the
        caller sets it.
        """
        loop = asyncio.get_running_loop()
        *others, last = await self.resolve(host)
        for address in others:
            with suppress(OSError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    connection = await self._connect(address, port)
                break
        else:
            connection = await self._connect(last, port)
        name = host if tls else None
        _, protocol = await loop.create_connection(
            make_protocol, sock=connection, ssl=tls, server_hostname=name
        )
        return protocol

    async def _connect(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        target = (address, port)
        opened = self._open_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target))
        try:
            opened.setblocking(False)  # noqa: FBT003 - its own signature
            await asyncio.get_running_loop().sock_connect(opened, target)
        except BaseException:
            opened.close()
            raise
        return opened

    def connector(
        self,
        *,
        idle_seconds: float = IDLE_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> TCPConnector:
        """An aiohttp connector that dials allowed addresses only; SNI and Host stay the URL's name.
        `idle_seconds` is how long it keeps an unused connection.

        It has no limit of connections, in all or of one host: a request that waited for others
        would look slow. Callers bound how much they send at a time.
        """
        return BoundedConnector(
            resolver=_Resolver(self),
            socket_factory=self._open_socket,
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=idle_seconds,
            ssl=tls or True,
        )

    def session(
        self, headers: Mapping[str, str], timeout: ClientTimeout, tls: ssl.SSLContext | None = None
    ) -> ClientSession:
        """An HTTP client that dials allowed addresses only, without cookies, decompression, and
        proxies and credentials from the environment."""
        return ClientSession(
            connector=self.connector(tls=tls),
            headers={**DEFAULT_HEADERS, **headers},
            cookie_jar=DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            **HEAD_LIMITS,
        )

    def _open_socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self.check_address(str(address[0]))
        if self._ports is not None and address[1] not in self._ports:
            raise BlockedAddress("this port may not be called")
        return socket.socket(family, kind, protocol)

    def _look_up(self, host: str) -> asyncio.Future[Sequence[str]]:
        """The look-up of this name that is in progress, or a new one.

        A look-up in a thread cannot be stopped: a name whose servers hang would take a thread for
        every try, and leave none for other names.
        """
        if host not in self._lookups:
            lookup = asyncio.ensure_future(self._lookup(host))
            lookup.add_done_callback(lambda done: self._forget(host, done))
            self._lookups[host] = lookup
        return self._lookups[host]

    def _forget(self, host: str, done: asyncio.Future[Sequence[str]]) -> None:
        del self._lookups[host]
        if not done.cancelled():
            done.exception()  # retrieved, even if nobody waits any more


class _Resolver(AbstractResolver):
    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._guard.resolve(host)
        ]

    async def close(self) -> None:
        """Do nothing: the resolver holds nothing that could be closed."""


def _threaded_lookup() -> Lookup:
    """The system's resolver (getaddrinfo), in threads that nothing else uses.

    Names that were quick the last time have threads of their own: a slow server holds a thread for
    as long as it likes, and strangers choose names.
    """
    new, known = (ThreadPoolExecutor(LOOKUP_THREADS, name) for name in ("lookup", "lookup-known"))
    quick: dict[str, None] = {}

    def resolve(host: str) -> tuple[list[str], float]:
        started = perf_counter()
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(address[0]) for *_, address in infos], perf_counter() - started

    async def lookup(host: str) -> list[str]:
        threads = known if host in quick else new
        quick.pop(host, None)
        addresses, seconds = await asyncio.get_running_loop().run_in_executor(
            threads, resolve, host
        )
        if seconds < QUICK_SECONDS:
            quick[host] = None
        if len(quick) > MAX_QUICK:
            del quick[next(iter(quick))]
        return addresses

    return lookup
