"""The only way out to addresses that strangers choose: subscribers, media, callback URLs.

A name is resolved here, every address of it is judged by url_policy.py, and exactly those
addresses are dialled; the socket itself is opened only for an address that passes once more, so
literal addresses, which no resolver sees, meet the same rule (promise 10).
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
RESOLVE_SECONDS: Final = 5.0  # one try of the usual stub resolver
MAX_ADDRESSES: Final = 8  # dialled per name; all are judged
LOOKUP_THREADS: Final = (
    32  # look-ups at a time, apart from the loop's own pool, which is small and shared
)
# An unused connection is kept for less than servers usually keep it (Node, Apache, uvicorn: 5 s),
# so that a request seldom meets one that is just being closed.
IDLE_SECONDS: Final = 4.0
QUICK_SECONDS: Final = 1.0  # a name found within this is as good as cached by its resolver
MAX_QUICK: Final = 10_000  # names that are remembered so
CONNECT_SECONDS: Final = 2.0  # to one address of a name, if there are others to try

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)
Lookup = Callable[[str], Awaitable[Sequence[str]]]


class BlockedAddress(OSError):
    """This address must not be dialled; the message says why, without naming the address.

    An OSError, as the system's own refusal to connect would be.
    """


class AddressGuard:
    """Resolves names and judges addresses and ports.

    `lookup` turns a name into addresses as text; `ports` None means any port.
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
        self._seconds = resolve_seconds
        self._asked: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._only_inward = False

    def only_allowed_networks(self) -> "AddressGuard":
        """A guard for what is not encrypted, with the rules and the look-ups of this one: of the
        addresses that this one admits, it admits those in allowed networks only.

        A name that led inward when its URL was taken may lead anywhere when it is dialled.
        """
        narrowed = copy(self)
        narrowed._only_inward = True  # noqa: SLF001 - its own
        return narrowed

    async def resolve(self, host: str) -> list[str]:
        """What `host` (a name or a literal address) may be dialled at.

        Blocked if any of its addresses is refused; another OSError if there are none in time.
        Nothing is remembered: the next call asks again.
        """
        try:
            async with asyncio.timeout(self._seconds):
                found = await asyncio.shield(self._ask(host))
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        except ValueError:  # what getaddrinfo makes of a name that cannot be one
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for address in found:
            self.check_address(address)
        return list(dict.fromkeys(found))[:MAX_ADDRESSES]

    def check_address(self, address: str) -> None:
        """Blocked, if this literal address must not be dialled."""
        try:
            read = ip_address(address)
            reason = blocked_reason(read, self._allowed)
            if self._only_inward and not in_networks(read, self._allowed):
                reason = reason or "what is sent to it must be encrypted"
        except ValueError:
            reason = "not a plain address"
        if reason is not None:
            raise BlockedAddress(f"this address may not be called: {reason}")

    async def dial(
        self,
        speak: Callable[[], ProtocolT],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> ProtocolT:
        """A connection to `host` (a name or a literal address) that `speak` speaks over.

        The certificate is asked for by `host`. An OSError if none of its addresses answers;
        without end if the last one does not: bound it in time.
        """
        loop = asyncio.get_running_loop()
        *others, last = await self.resolve(host)
        for address in others:
            with suppress(OSError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    connected = await self._connected(address, port)
                break
        else:
            connected = await self._connected(last, port)
        name = host if tls else None
        _, spoken = await loop.create_connection(
            speak, sock=connected, ssl=tls, server_hostname=name
        )
        return spoken

    async def _connected(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        target = (address, port)
        opened = self._open((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target))
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
        """An aiohttp connector that dials nothing else; SNI and Host stay the URL's name.

        No limit, over all hosts or of one: whoever waits behind others at the same host would be
        taken for slow. How much is sent at a time is the business of those who send.
        """
        return BoundedConnector(
            resolver=_Resolver(self),
            socket_factory=self._open,
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=idle_seconds,
            ssl=tls or True,
        )

    def session(
        self, headers: Mapping[str, str], timeout: ClientTimeout, tls: ssl.SSLContext | None = None
    ) -> ClientSession:
        """A client that dials nothing else: without cookies, decompression, or proxies and
        credentials from the environment."""
        return ClientSession(
            connector=self.connector(tls=tls),
            headers={**DEFAULT_HEADERS, **headers},
            cookie_jar=DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            **HEAD_LIMITS,
        )

    def _open(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self.check_address(str(address[0]))
        if self._ports is not None and address[1] not in self._ports:
            raise BlockedAddress("this port may not be called")
        return socket.socket(family, kind, protocol)

    def _ask(self, host: str) -> asyncio.Future[Sequence[str]]:
        """The look-up of this name that is under way, or a new one.

        A look-up in a thread cannot be stopped, so a name whose servers hang would take a
        thread for every try and leave none to the other names.
        """
        if host not in self._asked:
            asked = asyncio.ensure_future(self._lookup(host))
            asked.add_done_callback(lambda done: self._forget(host, done))
            self._asked[host] = asked
        return self._asked[host]

    def _forget(self, host: str, done: asyncio.Future[Sequence[str]]) -> None:
        del self._asked[host]
        if not done.cancelled():
            done.exception()  # seen, even if everybody had stopped waiting


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
        """Nothing is held."""


def _threaded_lookup() -> Lookup:
    """The system's resolver in threads of its own: neither loop's default pool is shared.

    Names that were found quickly the last time have threads that others cannot use up: a thread is
    held for as long as the servers of a name please, and anybody can bring names.
    """
    new, known = (ThreadPoolExecutor(LOOKUP_THREADS, name) for name in ("lookup", "lookup-known"))
    quick: dict[str, None] = {}

    def ask(host: str) -> tuple[list[str], float]:
        begun = perf_counter()
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(address[0]) for *_, address in found], perf_counter() - begun

    async def lookup(host: str) -> list[str]:
        threads = known if host in quick else new
        quick.pop(host, None)
        found, seconds = await asyncio.get_running_loop().run_in_executor(threads, ask, host)
        if seconds < QUICK_SECONDS:
            quick[host] = None
        if len(quick) > MAX_QUICK:
            del quick[next(iter(quick))]
        return found

    return lookup
