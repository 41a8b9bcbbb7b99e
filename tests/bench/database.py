"""Connections to the databases that are measured on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

PATIENCE = 900.0  # seconds one statement may take


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection (asyncpg's, which has no types) whose statements may take long."""
    connection = await asyncpg.connect(url, command_timeout=PATIENCE)
    try:
        yield connection
    finally:
        await connection.close()


def value(url: str, query: str, *arguments: object) -> object:
    """The one value that a query gives."""

    async def run() -> object:
        async with connected(url) as connection:
            found: object = await connection.fetchval(query, *arguments)
            return found

    return asyncio.run(run())


def execute(url: str, statement: str) -> None:
    value(url, statement)
