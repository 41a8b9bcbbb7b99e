"""The inner port: metrics and health of one process, on loopback and without a key."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
from structlog.typing import EventDict

from service import server
from service.inner_port import inner_port
from service.kit.database.database import Database
from service.local.ports import HOST, free_port
from service.resources import Resources
from tests.support.raw_servers import never_respond, scripted_server
from tests.support.waiting import wait_until
from tests.support.worker import running_worker, wait_until_swept

# Seconds in which a caller of the port gives up: fewer than opening a connection may take.
PATIENCE = 4.0


def opened_port(logged: list[EventDict]) -> int:
    """The port that was opened last, as it was logged."""
    lines = [line for line in logged if line.get("action") == "inner_port_opened"]
    return int(lines[-1]["port"])


@asynccontextmanager
async def inner(resources: Resources, logged: list[EventDict]) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the inner port of a process with these resources."""
    async with inner_port(resources, 0):
        address = f"http://{HOST}:{opened_port(logged)}"
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=PATIENCE) as http:
            yield http


async def test_it_shows_metrics_and_health_to_whoever_asks_and_nothing_else(
    resources: Resources, logged: list[EventDict]
) -> None:
    async with inner(resources, logged) as http:
        metrics = await http.get("/metrics")
        assert (metrics.status_code, "callsheet_build_info{" in metrics.text) == (200, True)
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert (await http.get("/v1/subjects")).status_code == 404
        assert (await http.post("/metrics")).status_code == 405


async def test_it_answers_in_time_although_postgres_hangs(
    resources: Resources, logged: list[EventDict]
) -> None:
    async with scripted_server(never_respond) as url:
        away = Database(f"postgresql://u:p@{HOST}:{urlsplit(url).port}/db")
        async with inner(replace(resources, database=away), logged) as http:
            answers = await asyncio.gather(*(http.get("/readyz") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {503}
            assert answers[0].json()["checks"]["postgres"] == "does not answer in time"
            assert answers[0].json()["checks"]["redis"] == "ok"
            assert (await http.get("/healthz")).status_code == 200
            metrics = await http.get("/metrics")
            assert metrics.status_code == 200
            assert "callsheet_oldest_age_seconds" not in metrics.text
        await away.close()


async def test_it_is_ready_although_redis_hangs(
    resources: Resources, logged: list[EventDict]
) -> None:
    async with scripted_server(never_respond) as url:
        redis_url = f"redis://{HOST}:{urlsplit(url).port}/0"
        settings = replace(resources.settings, redis_url=redis_url)
        async with inner(replace(resources, settings=settings), logged) as http:
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["checks"]["redis"] == "cannot be reached: jobs are not taken"


async def test_web_and_worker_serve_it_until_they_stop(
    resources: Resources, logged: list[EventDict]
) -> None:
    web, worker = free_port(), free_port()
    both = replace(resources.settings, port=free_port(), inner_port=(web, worker))
    stop = asyncio.Event()
    serving = asyncio.create_task(server.run(both, stop))
    async with running_worker(both), httpx.AsyncClient(trust_env=False) as http:
        await wait_until_swept(resources)
        await wait_until(lambda: len(actions(logged, "inner_port_opened")) == 2)
        for port in (web, worker):
            assert (await http.get(f"http://{HOST}:{port}/healthz")).status_code == 200
        stop.set()
        assert await serving
    for port in (web, worker):
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, port)) != 0


def actions(logged: list[EventDict], action: str) -> list[EventDict]:
    """The log lines with this action."""
    return [line for line in logged if line.get("action") == action]


async def test_a_port_that_is_taken_is_one_line_and_the_process_runs_on(
    resources: Resources, logged: list[EventDict]
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        async with running_worker(replace(resources.settings, inner_port=(None, port))):
            await wait_until_swept(resources)
    (line,) = actions(logged, "inner_port_unavailable")
    assert (line["port"], line["error"]) == (port, "Address already in use")


async def test_without_a_port_nothing_is_opened(
    resources: Resources, logged: list[EventDict]
) -> None:
    async with inner_port(resources, None):
        assert not actions(logged, "inner_port_opened")
