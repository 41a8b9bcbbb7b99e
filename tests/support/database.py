"""Postgres behind the service: rows, lock waits, executed statements and their query plans."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import asyncpg
import orjson
import pytest
from sqlalchemy import ClauseElement

from service.kit.database.connection import Connection
from service.kit.database.database import PLANNER_SETTINGS
from service.resources import Resources
from tests.support.waiting import wait_until


async def fetch(resources: Resources, statement: str, *values: object) -> list[dict[str, Any]]:
    """Rows, read or changed on a connection of the test's own."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def wait_until_blocked(resources: Resources, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock that another holds."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def enough() -> bool:
        return bool((await fetch(resources, waiting))[0]["count"] >= count)

    await wait_until(enough)


SCAN_NODES = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


@contextmanager
def executed_statements() -> Iterator[list[str]]:
    """The statements executed while the block runs, in order."""
    statements: list[str] = []
    whole = Connection.execute

    async def listened_to(
        self: Connection, clause: ClauseElement, values: Mapping[str, Any] = MappingProxyType({})
    ) -> Sequence[Any]:
        with self._driver.query_logger(lambda record: statements.append(record.query)):
            return await whole(self, clause, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "execute", listened_to)
        yield statements


async def query_plan(connection: asyncpg.Connection, statement: str) -> dict[str, Any]:
    """The plan that serves whatever the parameters are, as the service has Postgres make it."""
    for name, value in PLANNER_SETTINGS.items():
        await connection.execute(f"SET {name} = {value}")
    await connection.execute(f"PREPARE asked AS {statement}")
    try:
        count = await connection.fetchval(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'"
        )
        values = ", ".join(["NULL"] * count)
        given = f"({values})" if count else ""
        found = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{given}")
    finally:
        await connection.execute("DEALLOCATE asked")
    explained: dict[str, Any] = orjson.loads(found)[0]["Plan"]
    return explained


def table_scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place in a plan where rows of a table are looked for."""
    if node["Node Type"] in SCAN_NODES:
        yield node
    for below in node.get("Plans", ()):
        yield from table_scans(below)
