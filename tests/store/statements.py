"""The statements that the service sends to Postgres, listened to; and how Postgres runs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from service.store.database import PLANNING

SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


@contextmanager
def heard() -> Iterator[list[str]]:
    """The statements sent while the block runs, in order; but for BEGIN and COMMIT."""
    statements: list[str] = []

    def through_sqlalchemy(_: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    def through_the_driver(record: Any) -> None:  # noqa: ANN401 - the driver has no types
        if not record.query.startswith(("BEGIN", "COMMIT")):
            statements.append(record.query)

    def checked_out(adapted: Any, *_: object) -> None:  # noqa: ANN401 - likewise
        adapted.driver_connection.add_query_logger(through_the_driver)

    def checked_in(adapted: Any, *_: object) -> None:  # noqa: ANN401 - likewise
        adapted.driver_connection.remove_query_logger(through_the_driver)

    listening = (
        (Engine, "before_cursor_execute", through_sqlalchemy),
        (Pool, "checkout", checked_out),
        (Pool, "checkin", checked_in),
    )
    for target, name, listener in listening:
        event.listen(target, name, listener)
    try:
        yield statements
    finally:
        for target, name, listener in listening:
            event.remove(target, name, listener)


async def plan(connection: asyncpg.Connection, statement: str) -> dict[str, Any]:
    """The plan that serves whatever the parameters are, as the service has Postgres make it."""
    for name, value in PLANNING.items():
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
