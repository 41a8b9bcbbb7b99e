"""Postgres behind the service: rows, lock waits, executed statements and their query plans."""

import asyncio
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
    """Run a statement on a connection of its own; its rows."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def wait_until_blocked(resources: Resources, count: int = 1) -> None:
    """Wait until `count` sessions wait for a lock that another one holds."""
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
    execute = Connection.execute

    async def logged_execute(
        self: Connection, clause: ClauseElement, values: Mapping[str, Any] = MappingProxyType({})
    ) -> Sequence[Any]:
        with self._driver.query_logger(lambda record: statements.append(record.query)):
            rows = await execute(self, clause, values)
        await asyncio.sleep(0)  # the driver tells of it in the loop's next pass
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "execute", logged_execute)
        yield statements


async def query_plan(connection: asyncpg.Connection, statement: str) -> dict[str, Any]:
    """The generic plan of a statement, made with the planner settings of the service."""
    for name, value in PLANNER_SETTINGS.items():
        await connection.execute(f"SET {name} = {value}")
    await connection.execute(f"PREPARE planned AS {statement}")
    try:
        count = await connection.fetchval(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'"
        )
        values = ", ".join(["NULL"] * count)
        given = f"({values})" if count else ""
        found = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned{given}")
    finally:
        await connection.execute("DEALLOCATE planned")
    explained: dict[str, Any] = orjson.loads(found)[0]["Plan"]
    return explained


def table_scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan that scans a table."""
    if node["Node Type"] in SCAN_NODES:
        yield node
    for child in node.get("Plans", ()):
        yield from table_scans(child)
