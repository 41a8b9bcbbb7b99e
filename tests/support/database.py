"""What the provider would post, signed as it signs; and looks at the tables behind the service."""

from typing import Any

import asyncpg

from service.resources import Resources
from tests.support.waiting import eventually


async def fetch(resources: Resources, statement: str, *values: object) -> list[dict[str, Any]]:
    """Rows, read or changed on a connection of the test's own."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def blocked(resources: Resources, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock that another holds."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def enough() -> bool:
        return bool((await fetch(resources, waiting))[0]["count"] >= count)

    await eventually(enough)
