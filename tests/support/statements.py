"""The statements that the service sends to Postgres, listened to; and how Postgres runs them."""

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

SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


@contextmanager
def heard() -> Iterator[list[str]]:
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


async def plan(connection: asyncpg.Connection, statement: str) -> dict[str, Any]:
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


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place in a plan where rows of a table are looked for."""
    if node["Node Type"] in SCANS:
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)
