"""What the provider would post, signed as it signs; and looks at the tables behind the service."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg

from service.core import signatures
from service.core.create_request import Accepted
from service.core.keys import whsec
from service.core.url_tokens import callback_token
from service.steps.accept import accept
from service.steps.resources import Resources
from service.steps.validate import validate
from tests.conftest import WEBHOOK_SECRET

TASK = "880000000000000001"
ELEMENT = "770000000000000001"


def record(
    subject_id: str | None, status: str = "succeed", task: str = TASK, **changes: object
) -> bytes:
    """A task record in the older shape, as a callback bears it."""
    body: dict[str, object] = {"task_id": task, "task_status": status, "task_status_msg": ""}
    if subject_id is not None:
        body["task_info"] = {"external_task_id": subject_id}
    if status == "succeed":
        body["task_result"] = {"elements": [{"element_id": int(ELEMENT), "element_name": "Ada"}]}
    return json.dumps(body | changes).encode()


def newer(
    subject_id: str | None, status: str = "succeed", task: str = TASK, **changes: object
) -> bytes:
    """The same in the newer shape."""
    body: dict[str, object] = {"id": task, "message": "", "outputs": []}
    body["status"] = {"succeed": "succeeded"}.get(status, status)
    if subject_id is not None:
        body["external_id"] = subject_id
    if status == "succeed":
        body["outputs"] = [{"type": "element", "id": int(ELEMENT), "name": "Ada"}]
    return json.dumps(body | changes).encode()


def signed(
    body: bytes, at: datetime, message_id: str = "msg_1", secret: str = WEBHOOK_SECRET
) -> dict[str, str]:
    """The headers of a signed callback."""
    keys = [whsec(secret)]
    return signatures.headers(keys, message_id, int(at.timestamp()), body)


def token(resources: Resources, subject_id: str) -> str:
    """The token in the address that the provider is given for this subject."""
    return callback_token(resources.callback_key, subject_id)


async def create(
    resources: Resources, account_id: str, body: object, key: str | None = None
) -> Accepted:
    """Have a subject created as by POST /v1/subjects, in a transaction of its own."""
    return await accept(resources, validate(resources.settings, account_id, body, key))


async def fetch(resources: Resources, statement: str, *values: object) -> list[dict[str, Any]]:
    """Rows, read or changed on a connection of the test's own."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait until it holds; fail if it never does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        assert loop.time() < deadline
        await asyncio.sleep(0.005)


async def blocked(resources: Resources, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock that another holds."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def enough() -> bool:
        return bool((await fetch(resources, waiting))[0]["count"] >= count)

    await eventually(enough)
