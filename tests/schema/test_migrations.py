"""The migrations lead to the tables as they are declared, whoever runs them, however many do."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from service.kit.database.migrate import migrate
from service.kit.errors import Unavailable
from service.local.server import Server
from service.schema import metadata
from tests.conftest import database, execute

PROCESSES = 10
CATALOG = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default,
            collation_name, is_identity, identity_generation
        FROM information_schema.columns WHERE table_schema = 'public'
        ORDER BY table_name, column_name""",
    "constraints": """
        SELECT conrelid::regclass::text AS table_name, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        ORDER BY conrelid::regclass::text, conname""",
    "indexes": """
        SELECT tablename AS table_name, indexname, pg_get_indexdef(indexname::regclass)
        FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname""",
}


@pytest.fixture
async def empty(postgres_server: Server) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = "callsheet_empty"
    await execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield database(postgres_server.url, name)
    await execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


async def catalog(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that Postgres knows of our tables, but for alembic's own."""
    connection = await asyncpg.connect(url)
    try:
        return {
            kind: [
                tuple(row) for row in await connection.fetch(query) if row[0] != "alembic_version"
            ]
            for kind, query in CATALOG.items()
        }
    finally:
        await connection.close()


async def test_migrations_lead_to_exactly_the_declared_tables(
    empty: str, database_url: str
) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(asyncpg.connect, empty)
    )
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    declared, migrated = await catalog(empty), await catalog(database_url)
    for kind, rows in declared.items():
        assert migrated[kind] == rows, kind
    assert {row[0] for row in declared["columns"]} == set(metadata.tables)


async def test_ten_processes_may_migrate_an_empty_database_at_once(
    empty: str, database_url: str
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.kit.database.migrate"])
    with ProcessPoolExecutor(PROCESSES, context) as processes:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(processes, migrate, empty) for _ in range(PROCESSES))
        )
    assert await catalog(empty) == await catalog(database_url)


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = await catalog(database_url)
    await asyncio.to_thread(migrate, database_url)
    assert await catalog(database_url) == before


async def test_a_migration_that_cannot_have_its_lock_gives_up(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("DELETE FROM alembic_version")
            await connection.execute("LOCK TABLE alembic_version")
            with pytest.raises(Unavailable):
                await asyncio.to_thread(migrate, database_url)
    finally:
        await connection.close()


async def test_a_database_that_is_away_is_said_to_be_unavailable(database_url: str) -> None:
    with pytest.raises(Unavailable):
        await asyncio.to_thread(migrate, database(database_url, "callsheet_no_such"))
