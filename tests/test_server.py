"""The web process: it serves until it is told to stop, lets go in order, and says if it cannot."""

import asyncio
import socket
from dataclasses import replace

import httpx
import pytest

from service import server
from service.local.ports import HOST, free_port
from service.settings import Settings
from tests.support.waiting import wait_until


@pytest.fixture
def here(settings: Settings) -> Settings:
    """Settings with a port that is free."""
    return replace(settings, port=free_port())


def listens(settings: Settings) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((settings.host, settings.port)) == 0


async def test_it_serves_until_it_is_told_to_stop(here: Settings) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(server.run(here, stop))
    await wait_until(lambda: listens(here))
    address = f"http://{here.host}:{here.port}"
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert "server" not in answer.headers
    stop.set()
    assert await running is True
    assert not listens(here)


async def test_a_request_under_way_is_answered_before_it_stops(here: Settings) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(server.run(here, stop))
    await wait_until(lambda: listens(here))
    reader, writer = await asyncio.open_connection(here.host, here.port)
    head = (
        "POST /callbacks HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    stop.set()
    await wait_until(lambda: not listens(here))
    writer.write(b"{}")
    rest = await reader.read()
    assert b"HTTP/1.1 401" in rest
    assert await running is True
    writer.close()


async def test_a_port_that_is_taken_is_said_to_be_and_all_is_closed(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        occupied = replace(settings, port=taken.getsockname()[1])
        assert await server.run(occupied, asyncio.Event()) is False
