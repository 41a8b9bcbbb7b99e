"""The connections that are kept: how many, how long, and for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from service.delivery.remote.outcomes import Failed, Published
from service.delivery.remote.streams import StreamPublisher
from service.kit.network.ssrf_guard import AddressGuard
from tests.support.name_resolution import Resolver
from tests.support.raw_servers import LOOPBACK, SHORT_TIMEOUT, TIMEOUT, scripted_server
from tests.support.stream_publishing import NO_CREDENTIALS, receipt_of, stream_message
from tests.support.webhook_attempts import reason_of

OK = b"$3\r\n1-1\r\n"


@dataclass
class FakeRedis:
    """A server that answers OK to every Redis command, but nothing to one that holds `silence`."""

    url: str = ""
    silence: bytes = b"nothing is silent"
    commands: list[bytes] = field(default_factory=list)
    dialled: int = 0
    open: int = 0
    closed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        self.open += 1
        try:
            while data := await reader.read(1_000_000):
                self.commands.append(data)
                if self.silence not in data:
                    writer.write(b"+OK\r\n" * data.count(b"AUTH") + OK * data.count(b"XADD"))
        finally:
            self.open -= 1
            async with self.closed:
                self.closed.notify_all()

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), self.closed:
            await self.closed.wait_for(lambda: self.open == count)


@asynccontextmanager
async def fake_redis() -> AsyncIterator[FakeRedis]:
    server = FakeRedis()
    async with scripted_server(server.serve) as url:
        server.url = url.replace("http", "redis").removesuffix("/hook")
        yield server


async def test_a_connection_is_kept_for_the_next_and_closed_when_unused() -> None:
    async with (
        fake_redis() as server,
        StreamPublisher(AddressGuard(LOOPBACK), idle_seconds=0.05) as streams,
    ):
        for _ in range(3):
            receipt_of(
                await streams.publish(
                    server.url, NO_CREDENTIALS, "events", stream_message(), TIMEOUT
                )
            )
        assert server.dialled == 1
        await server.until_open(0)
        receipt_of(
            await streams.publish(server.url, NO_CREDENTIALS, "events", stream_message(), TIMEOUT)
        )
    assert server.dialled == 2


async def test_other_credentials_are_another_connection() -> None:
    async with fake_redis() as server, StreamPublisher(AddressGuard(LOOPBACK)) as streams:
        for credentials in (("acme", "old"), ("acme", "new"), ("acme", "old")):
            await streams.publish(server.url, credentials, "events", stream_message(), TIMEOUT)
    assert server.dialled == 2


async def test_the_least_recently_used_connection_is_closed_for_a_new_one() -> None:
    names = Resolver(["127.0.0.1"])
    async with (
        fake_redis() as server,
        StreamPublisher(AddressGuard(LOOPBACK, names), max_connections=2) as streams,
    ):
        for host in ("a.test", "b.test", "a.test", "c.test"):
            url = server.url.replace("127.0.0.1", host)
            receipt_of(
                await streams.publish(url, NO_CREDENTIALS, "events", stream_message(), TIMEOUT)
            )
        await server.until_open(2)
        receipt_of(
            await streams.publish(
                server.url.replace("127.0.0.1", "a.test"),
                NO_CREDENTIALS,
                "events",
                stream_message(),
                TIMEOUT,
            )
        )
    assert names.lookups == ["a.test", "b.test", "c.test"]


async def test_a_publish_without_an_answer_costs_the_others_only_the_connection() -> None:
    async with fake_redis() as server, StreamPublisher(AddressGuard(LOOPBACK)) as streams:
        server.silence = b"events.silence"
        assert reason_of(
            await streams.publish(
                server.url, NO_CREDENTIALS, "events.silence", stream_message(), SHORT_TIMEOUT
            )
        ) == ("timeout")
        receipt_of(
            await streams.publish(server.url, NO_CREDENTIALS, "events", stream_message(), TIMEOUT)
        )
        assert server.dialled == 2
        await server.until_open(1)


async def test_what_is_under_way_on_a_draining_connection_still_ends_well() -> None:
    request_came, answer = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000_000):
            if b"events.late" in data:
                request_came.set()
                await answer.wait()
            writer.write(OK * data.count(b"XADD"))

    async with scripted_server(script) as url, StreamPublisher(AddressGuard(LOOPBACK)) as streams:
        address = url.replace("http", "redis").removesuffix("/hook")
        late = asyncio.ensure_future(
            streams.publish(address, NO_CREDENTIALS, "events.late", stream_message(), TIMEOUT)
        )
        await request_came.wait()
        behind = await streams.publish(
            address, NO_CREDENTIALS, "events.behind", stream_message(), SHORT_TIMEOUT
        )
        assert reason_of(behind) == "timeout"
        receipt_of(
            await streams.publish(address, NO_CREDENTIALS, "events.anew", stream_message(), TIMEOUT)
        )
        answer.set()
        receipt_of(await late)


async def test_a_dial_that_hangs_is_shared_and_given_up_with_its_last_user() -> None:
    stuck, request_came, ended = asyncio.Event(), [], asyncio.Event()

    async def lookup(host: str) -> list[str]:
        request_came.append(host)
        await stuck.wait()
        return ["127.0.0.1"]

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with (
        scripted_server(script) as url,
        StreamPublisher(AddressGuard(LOOPBACK, lookup)) as streams,
    ):
        address = url.replace("http://127.0.0.1", "redis://sub.test").removesuffix("/hook")
        attempts = await asyncio.gather(
            *(
                streams.publish(address, NO_CREDENTIALS, "events", stream_message(), SHORT_TIMEOUT)
                for _ in range(20)
            )
        )
        assert {reason_of(attempt) for attempt in attempts} == {"timeout"}
        assert request_came == ["sub.test"]
        stuck.set()


async def test_at_the_end_every_connection_is_closed_and_nothing_more_is_published() -> None:
    async with fake_redis() as server:
        server.silence = b"events.silence"
        streams = StreamPublisher(AddressGuard(LOOPBACK))
        receipt_of(
            await streams.publish(server.url, NO_CREDENTIALS, "events", stream_message(), TIMEOUT)
        )
        waiting = asyncio.ensure_future(
            streams.publish(server.url, ("a", "b"), "events.silence", stream_message(), TIMEOUT)
        )
        while not any(b"events.silence" in command for command in server.commands):  # noqa: ASYNC110 - a server's
            await asyncio.sleep(0.01)
        await streams.aclose()
        assert reason_of(await waiting) == "reset"
        await server.until_open(0)
        assert (
            reason_of(
                await streams.publish(
                    server.url, NO_CREDENTIALS, "events", stream_message(), SHORT_TIMEOUT
                )
            )
            == "reset"
        )


async def test_a_dial_under_way_ends_with_the_rest() -> None:
    request_came = asyncio.Event()

    async def lookup(_: str) -> list[str]:
        request_came.set()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    streams = StreamPublisher(AddressGuard(LOOPBACK, lookup))
    waiting = asyncio.ensure_future(
        streams.publish("nats://sub.test", NO_CREDENTIALS, "events", stream_message(), TIMEOUT)
    )
    await request_came.wait()
    await streams.aclose()
    assert reason_of(await waiting) == "reset"


async def test_a_publish_that_is_stopped_stops() -> None:
    async with fake_redis() as server, StreamPublisher(AddressGuard(LOOPBACK)) as streams:
        server.silence = b"events.silence"
        waiting = asyncio.ensure_future(
            streams.publish(server.url, NO_CREDENTIALS, "events.silence", stream_message(), TIMEOUT)
        )
        while not server.commands:  # noqa: ASYNC110 - a server's
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await server.until_open(0)


async def test_a_server_that_reads_nothing_is_given_up_in_time() -> None:
    async def script(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    large = stream_message(padding="x" * 1_000_000)
    async with scripted_server(script) as url, StreamPublisher(AddressGuard(LOOPBACK)) as streams:
        address = url.replace("http", "redis").removesuffix("/hook")
        attempts = await asyncio.gather(
            *(
                streams.publish(address, NO_CREDENTIALS, "events", large, SHORT_TIMEOUT)
                for _ in range(20)
            )
        )
    assert all(isinstance(attempt, Failed | Published) for attempt in attempts)
    assert {reason_of(attempt) for attempt in attempts} == {"timeout"}
