"""The SSRF guard: names are resolved once, their addresses checked, and only those dialled."""

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from service.kit.network.ports import parse_ports
from service.kit.network.ssrf_guard import (
    LOOKUP_THREADS,
    MAX_ADDRESSES,
    AddressGuard,
    BlockedAddress,
)
from tests.support.name_resolution import (
    LOOPBACK_ONE_ADDRESS,
    LOOPBACK_V4_AND_V6,
    Resolver,
    tls_contexts,
)


@asynccontextmanager
async def answering(
    host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that answers 200, closes, and keeps the request heads; gives its port and those."""
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


async def get(guard: AddressGuard, url: str, tls: ssl.SSLContext | None = None) -> int:
    connector = guard.connector(tls=tls)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
        return answer.status


async def blocked(guard: AddressGuard, url: str) -> str:
    with pytest.raises(aiohttp.ClientConnectorError) as failure:
        await get(guard, url)
    assert isinstance(failure.value.os_error, BlockedAddress)
    return str(failure.value.os_error)


async def test_the_address_that_was_checked_is_the_one_dialled() -> None:
    names = Resolver(["127.0.0.1"], ["127.0.0.2"])
    async with answering() as (port, heads):
        assert (
            await get(AddressGuard(LOOPBACK_ONE_ADDRESS, names), f"http://sub.test:{port}/") == 200
        )
    assert names.lookups == ["sub.test"]
    assert f"Host: sub.test:{port}" in heads[0]


@pytest.mark.parametrize("answer", [["127.0.0.1", "10.0.0.1"], ["::ffff:10.0.0.1", "127.0.0.1"]])
async def test_one_refused_address_refuses_the_whole_name(answer: list[str]) -> None:
    async with answering() as (port, heads):
        reason = await blocked(
            AddressGuard(LOOPBACK_V4_AND_V6, Resolver(answer)), f"http://sub.test:{port}/"
        )
    assert reason.endswith("private (RFC 1918)")
    assert heads == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "[fe80::1%25lo]"],
)
async def test_a_literal_address_is_judged_though_nothing_resolves_it(host: str) -> None:
    names = Resolver([])
    await blocked(AddressGuard((), names), f"http://{host}:9/")
    assert names.lookups == []


@pytest.mark.parametrize("host", ["0x7f.1", "0x7f000001"])
async def test_an_odd_spelling_of_an_address_is_judged_by_what_it_means(host: str) -> None:
    await blocked(AddressGuard(()), f"http://{host}:9/")


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1", "127.0.0.1."])
async def test_an_odd_decimal_spelling_is_no_url(host: str) -> None:
    with pytest.raises(aiohttp.InvalidURL):
        await get(AddressGuard(LOOPBACK_V4_AND_V6), f"http://{host}:9/")


async def test_a_port_that_is_not_open_to_urls_is_not_dialled() -> None:
    async with answering() as (port, heads):
        closed = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["127.0.0.1"]), ports=parse_ports("443"))
        assert "port" in await blocked(closed, f"http://sub.test:{port}/")
        assert "port" in await blocked(closed, f"http://127.0.0.1:{port}/")
        opened = AddressGuard(LOOPBACK_V4_AND_V6, ports=parse_ports(str(port)))
        assert await get(opened, f"http://127.0.0.1:{port}/") == 200
    assert len(heads) == 1


async def test_an_allowed_literal_address_is_dialled() -> None:
    async with answering() as (port, _):
        assert await get(AddressGuard(LOOPBACK_V4_AND_V6), f"http://127.0.0.1:{port}/") == 200


async def test_another_address_of_the_name_is_tried_when_one_does_not_listen() -> None:
    guard = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["127.0.0.3", "127.0.0.1"]))
    async with answering() as (port, _):
        assert await get(guard, f"http://sub.test:{port}/") == 200


async def test_the_certificate_is_asked_for_by_name(tmp_path: Path) -> None:
    serving, trusting = tls_contexts("sub.test", tmp_path)
    lookups: list[str | None] = []
    serving.sni_callback = lambda _, name, __: lookups.append(name)
    async with answering(tls=serving) as (port, heads):
        guard = AddressGuard(LOOPBACK_V4_AND_V6, Resolver(["127.0.0.1"]))
        assert await get(guard, f"https://sub.test:{port}/", trusting) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(guard, f"https://other.test:{port}/", trusting)
    assert lookups == ["sub.test", "other.test"]
    assert len(heads) == 1


async def test_the_system_resolves_when_nothing_else_is_given() -> None:
    assert set(await AddressGuard(LOOPBACK_V4_AND_V6).resolve("localhost")) & {"127.0.0.1", "::1"}
    with pytest.raises(BlockedAddress, match="loopback"):
        await AddressGuard(()).resolve("localhost")


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a\0b", ""])
async def test_what_is_no_host_name_does_not_resolve(host: str) -> None:
    with pytest.raises(OSError, match=r"not a host name|known") as failure:
        await AddressGuard(()).resolve(host)
    assert not isinstance(failure.value, BlockedAddress)


async def test_a_name_without_addresses_does_not_resolve() -> None:
    with pytest.raises(socket.gaierror, match="no address"):
        await AddressGuard(LOOPBACK_V4_AND_V6, Resolver([])).resolve("sub.test")


@pytest.mark.parametrize("answer", ["sub.test", "127.1", "127.0.0.1:80", ""])
async def test_an_answer_that_is_no_address_is_refused(answer: str) -> None:
    with pytest.raises(BlockedAddress):
        await AddressGuard(LOOPBACK_V4_AND_V6, Resolver([answer])).resolve("sub.test")


async def test_many_addresses_are_all_judged_and_few_dialled() -> None:
    many = [f"127.0.0.{last}" for last in range(1, 100)]
    assert (
        await AddressGuard(LOOPBACK_V4_AND_V6, Resolver(many)).resolve("sub.test")
        == many[:MAX_ADDRESSES]
    )
    with pytest.raises(BlockedAddress):
        await AddressGuard(LOOPBACK_V4_AND_V6, Resolver([*many, "10.0.0.1"])).resolve("sub.test")


async def test_an_address_given_twice_is_dialled_once() -> None:
    twice = Resolver(["127.0.0.1", "127.0.0.2", "127.0.0.1"])
    assert await AddressGuard(LOOPBACK_V4_AND_V6, twice).resolve("sub.test") == [
        "127.0.0.1",
        "127.0.0.2",
    ]


class Stuck:
    """A resolver that does not answer until it is let go, and then does not know the name."""

    def __init__(self) -> None:
        self.lookups: list[asyncio.Task[object] | None] = []
        self.begun = asyncio.Event()
        self.free = asyncio.Event()

    async def __call__(self, host: str) -> Sequence[str]:
        self.lookups.append(asyncio.current_task())
        self.begun.set()
        await self.free.wait()
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known")


async def test_a_name_that_hangs_is_given_up_and_asked_for_once_at_a_time() -> None:
    stuck = Stuck()
    guard = AddressGuard(LOOPBACK_V4_AND_V6, stuck, resolve_seconds=0.05)
    waits = (guard.resolve("sub.test") for _ in range(20))
    failures = await asyncio.gather(*waits, return_exceptions=True)
    assert {str(failure) for failure in failures} == {str(failures[0])}
    assert "no answer in time" in str(failures[0])
    assert len(stuck.lookups) == 1


async def test_one_who_stops_waiting_stops_nobody_else() -> None:
    stuck = Stuck()
    guard = AddressGuard(LOOPBACK_V4_AND_V6, stuck)
    impatient = asyncio.ensure_future(guard.resolve("sub.test"))
    patient = asyncio.ensure_future(guard.resolve("sub.test"))
    await stuck.begun.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    stuck.free.set()
    with pytest.raises(socket.gaierror, match="is not known"):
        await patient
    assert len(stuck.lookups) == 1


async def test_an_answer_that_nobody_waited_for_goes_unnoticed() -> None:
    complaints: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    stuck = Stuck()
    guard = AddressGuard(LOOPBACK_V4_AND_V6, stuck, resolve_seconds=0.2)
    with pytest.raises(socket.gaierror, match="no answer in time"):
        await guard.resolve("sub.test")
    stuck.free.set()
    await asyncio.wait([lookup for lookup in stuck.lookups if lookup])
    stuck.lookups.clear()
    gc.collect()
    with pytest.raises(socket.gaierror, match="is not known"):
        await guard.resolve("sub.test")
    assert len(stuck.lookups) == 1
    assert complaints == []


async def test_a_look_up_stopped_at_shutdown_stops_who_waits_for_it() -> None:
    stuck = Stuck()
    guard = AddressGuard(LOOPBACK_V4_AND_V6, stuck)
    waiting = asyncio.ensure_future(guard.resolve("sub.test"))
    await stuck.begun.wait()
    for lookup in stuck.lookups:
        assert lookup
        assert lookup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_names_that_hang_take_nothing_from_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        if host.startswith("hanging"):
            gate.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    guard = AddressGuard(LOOPBACK_V4_AND_V6, resolve_seconds=25)
    assert await guard.resolve("well.example") == ["127.0.0.1"]
    names = [f"hanging{number}.example" for number in range(LOOKUP_THREADS + 8)]
    hanging = [asyncio.create_task(guard.resolve(name)) for name in names]
    await asyncio.sleep(0)
    try:
        assert await guard.resolve("well.example") == ["127.0.0.1"]
        assert not any(look_up.done() for look_up in hanging)
    finally:
        gate.set()
        await asyncio.gather(*hanging)
