"""The servers that are measured: the service, its baselines, and a second web process."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx

from service.local.ports import HOST, free_port
from service.local.processes import Command
from service.local.stack import Stack, stack
from service.local.waiting import http_status
from tests.bench.database import execute, value
from tests.bench.measure import ACCOUNT, Target

UP = {HTTPStatus.OK, HTTPStatus.METHOD_NOT_ALLOWED}  # what a baseline that is up says to a GET


@contextmanager
def serving() -> Iterator[Stack]:
    """The service without its worker, and an account with one subscriber."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", keep=False) as running,
    ):
        running.child("worker").stop()
        listener(running, ACCOUNT)
        yield running


@contextmanager
def second(running: Stack) -> Iterator[Stack]:
    """One more database on the same server, and `callsheet web` on it."""
    url = running.env["CALLSHEET_DATABASE_URL"]
    execute(url, "CREATE DATABASE bench_full")
    base_url = f"http://{HOST}:{(port := free_port())}"
    settings = {
        "CALLSHEET_DATABASE_URL": url.rpartition("/")[0] + "/bench_full",
        "CALLSHEET_PORT": str(port),
        "CALLSHEET_PUBLIC_URL": base_url,
    }
    second = replace(running, env={**running.env, **settings}, base_url=base_url)
    second.call("migrate")
    web = second.add("web-full", "web", ready=f"{base_url}/readyz")
    web.start()
    try:
        yield second
    finally:
        web.stop()


@contextmanager
def baseline(running: Stack, name: str) -> Iterator[Target]:
    """One of the servers of `web_baselines.py`."""
    port = free_port()
    command = Command(
        name=name,
        argv=[sys.executable, "-P", "-m", "tests.bench.web_baselines", name, str(port)],
        env=running.env,
        folder=running.folder,
        is_ready=lambda _pid: http_status(f"http://{HOST}:{port}/callbacks") in UP,
    )
    child = running.supervisor.add(command)
    child.start()
    try:
        yield target(replace(running, base_url=f"http://{HOST}:{port}"), name)
    finally:
        child.stop()


def target(running: Stack, name: str) -> Target:
    return Target(
        name=name,
        port=int(running.base_url.rpartition(":")[2]),
        processes={"web": running.child(name).pid, "Postgres": running.child("postgres").pid},
        secret=running.env["CALLSHEET_WEBHOOK_SECRETS"],
        database_url=running.env["CALLSHEET_DATABASE_URL"],
    )


def listener(running: Stack, account: str) -> tuple[str, str]:
    """A subscriber to all that happens to an account, which is made: the ids of both. Nothing
    listens at its address: without a worker, nothing is sent."""
    key = running.make_key(account)
    answer = httpx.post(
        f"{running.base_url}/v1/subscribers",
        json={"url": f"http://{HOST}:65009/"},
        headers={"authorization": f"Bearer {key}"},
    )
    subscriber: str = answer.raise_for_status().json()["id"]
    url = running.env["CALLSHEET_DATABASE_URL"]
    found = value(url, "SELECT account_id FROM subscribers WHERE id = $1", subscriber)
    return str(found), subscriber
