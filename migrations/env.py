"""Runs migrations: one process at a time, each migration in its own transaction, and none waits
long for a lock on a busy table."""

import asyncio
import time
from functools import partial

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service.kit.database.connect import connect
from service.kit.database.errors import as_unavailable, is_transient
from service.schema import metadata

DIALECT = "postgresql+asyncpg://"
# The advisory lock of the process that migrates; the number is arbitrary.
MIGRATION_LOCK = 0x6D696772_61746573
# A migration that cannot have its lock gives up rather than hold up everybody who queues behind.
LOCK_TIMEOUT = "5s"
LOCK_RETRY_DELAY = 0.2  # seconds


def run(connection: Connection) -> None:
    _acquire_migration_lock(connection)
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _acquire_migration_lock(connection: Connection) -> None:
    """Wait until no other process migrates, without an open transaction: an index that is built
    CONCURRENTLY waits for all open transactions, so the two would wait for each other."""
    while True:
        result = connection.execute(
            text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}
        )
        acquired = result.scalar_one()
        connection.commit()
        if acquired:
            return
        time.sleep(LOCK_RETRY_DELAY)


async def main() -> None:
    # Closing the connection lets the advisory lock go, however the migrations ended.
    opened = partial(connect, context.config.attributes["url"])
    engine = create_async_engine(DIALECT, async_creator=opened, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    except DBAPIError as error:
        cause = error.orig and error.orig.__cause__  # the driver's own
        if error.connection_invalidated or is_transient(cause):
            raise as_unavailable(cause) from error
        raise
    finally:
        await engine.dispose()


asyncio.run(main())
