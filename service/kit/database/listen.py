"""What Postgres notifies us of, on a connection of its own."""

import asyncio
from collections.abc import Callable

import asyncpg

from service.kit.database.connect import connect
from service.kit.database.errors import DRIVER_ERRORS
from service.kit.errors import Unavailable

APPLICATION_NAME = "callsheet listening"  # the session's application_name
CHECK_INTERVAL = 30.0  # seconds between looks whether the connection still lives
CHECK_TIMEOUT = 5.0  # seconds for the answer to such a look, and for the good-bye


async def listen(url: str, channel: str, heard: Callable[[str], None]) -> None:
    """Call `heard` with the payload of each notice, until the connection is lost; with an empty one
    as soon as it listens, as what came before is not known. Unavailable once it is lost."""
    connection = await connect(url, application_name=APPLICATION_NAME)
    try:
        try:
            await _listen(connection, channel, heard)
        finally:
            await connection.close(timeout=CHECK_TIMEOUT)
    except DRIVER_ERRORS as error:
        raise Unavailable from error
    raise Unavailable("the connection was lost")


async def _listen(
    connection: asyncpg.Connection, channel: str, heard: Callable[[str], None]
) -> None:
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.add_listener(channel, lambda *notice: heard(notice[-1]))
    heard("")
    while not ended.is_set():
        try:
            await asyncio.wait_for(ended.wait(), CHECK_INTERVAL)
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=CHECK_TIMEOUT)
