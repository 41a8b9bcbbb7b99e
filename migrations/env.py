"""How migrations run: one process at a time, each migration its own transaction, never waiting
long for a lock that a busy table holds."""

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
# Other processes that migrate wait here; the number is arbitrary, and only ours.
MIGRATION_LOCK = 0x6D696772_61746573
# A migration that cannot have its lock gives up rather than hold up everybody who queues behind.
LOCK_TIMEOUT = "5s"
LOOK_AGAIN = 0.2  # seconds


def run(connection: Connection) -> None:
    _take_turns(connection)
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


def _take_turns(connection: Connection) -> None:
    """Wait for whoever migrates, without a transaction open: an index that is built while others
    write waits for all of those, and each would wait for the other."""
    while True:
        taken = connection.execute(
            text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}
        )
        mine = taken.scalar_one()
        connection.commit()
        if mine:
            return
        time.sleep(LOOK_AGAIN)


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
