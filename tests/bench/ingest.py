"""Callback ingest: signed 1 kB terminal callbacks for known subjects with one subscriber each."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from service.core.signatures import headers, key_of
from service.local.looking import status_of
from service.local.ports import free_port
from service.local.processes import Child, Command
from service.local.stack import Stack
from tests.bench.load import drive

CONNECTIONS = 64
BODY_BYTES = 1000

_SUBJECTS = """
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,
        provider_task_id, attempt, next_try_at, polls, next_poll_at, deadline, created_at,
        updated_at)
    SELECT $1 || n, $2, 'f', $3::jsonb, '{}', 'submitted', 2, 'task-' || $1 || n, 1, now(), 0,
        now() + interval '1 hour', now() + interval '1 day', now(), now()
    FROM generate_series(0, $4 - 1) n
"""
_DOCUMENT = {
    "element_name": "bench",
    "element_description": "a benchmark",
    "reference_type": "image_refer",
}


async def make_subjects(url: str, account: str, stem: str, count: int) -> None:
    """So many submitted subjects of an account, `stem` and a number for ids."""
    connection = await asyncpg.connect(url)
    try:
        account_id = await connection.fetchval("SELECT id FROM accounts WHERE name = $1", account)
        await connection.execute(_SUBJECTS, stem, account_id, json.dumps(_DOCUMENT), count)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


def prepared(secret: str, port: int, stem: str, count: int) -> list[bytes]:
    """The requests that tell of the success of each, signed now."""
    return [_request(key_of(secret), port, f"{stem}{number}") for number in range(count)]


def _request(key: bytes, port: int, subject: str) -> bytes:
    record = {
        "task_id": f"task-{subject}",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": subject},
        "task_result": {"elements": [{"element_id": 829836802793406551, "element_name": "bench"}]},
        "created_at": int(time.time() * 1000),
        "updated_at": int(time.time() * 1000),
        "padding": "",
    }
    short = len(json.dumps(record))
    body = json.dumps(record | {"padding": "x" * (BODY_BYTES - short)}).encode()
    signed = headers([key], f"msg-{subject}", int(time.time()), body)
    lines = [
        "POST /callbacks HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in signed.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def rival(stack: Stack, name: str) -> Iterator[int]:
    """One of the servers of `rivals.py`, and its port."""
    port = free_port()
    command = Command(
        name=f"rival-{name}",
        argv=[sys.executable, "-P", "-m", "tests.bench.rivals", name, str(port)],
        env={**stack.env, "CALLSHEET_LOG_LEVEL": "warning"},
        folder=stack.folder,
        ready=lambda _pid: status_of(f"http://127.0.0.1:{port}/callbacks") == 405,
    )
    child: Child = stack.supervisor.add(command)
    child.start()
    try:
        yield port
    finally:
        child.stop()


async def ingest(stack: Stack, port: int, stem: str, count: int) -> tuple[float, list[float]]:
    """Callbacks per second, and each answer's latency in milliseconds."""
    await make_subjects(stack.env["CALLSHEET_DATABASE_URL"], "ingest", stem, count)
    requests = prepared(stack.env["CALLSHEET_WEBHOOK_SECRETS"], port, stem, count)
    return await drive("127.0.0.1", port, requests, CONNECTIONS)
