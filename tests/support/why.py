"""Why things wait, as callers see it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.kit.database.listen import session_name
from service.resources import Resources
from service.subjects.store.work import WORK_CHANNEL
from tests.support.api import Api


@asynccontextmanager
async def worker_listening(resources: Resources) -> AsyncIterator[None]:
    """A worker listens for work while the block runs, as far as others see."""
    connection = await asyncpg.connect(
        resources.settings.database_url,
        server_settings={"application_name": session_name(WORK_CHANNEL)},
    )
    try:
        yield
    finally:
        await connection.close()


async def why_of(api: Api, path: str) -> dict[str, Any]:
    """The member `why` of what stands at this path."""
    answer = await api.http.get(path)
    assert answer.status_code == 200, answer.text
    why: dict[str, Any] = answer.json()["why"]
    return why
