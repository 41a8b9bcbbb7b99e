"""LISTEN: the notifications (NOTIFY) of one channel, on a connection of its own."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from service.kit.database.connect import connect
from service.kit.database.errors import DRIVER_ERRORS
from service.kit.errors import Unavailable
from service.kit.metrics import LISTEN_AGE, LISTEN_LAST_NOTICE, LISTEN_RECONNECTS

log = structlog.get_logger()

CHECK_INTERVAL = 30.0  # seconds between checks whether the connection still lives
CHECK_TIMEOUT = 5.0  # seconds for the answer to a check, and for closing
RECONNECT_DELAY = 1.0  # seconds between tries to listen


class _Heard:
    """When a channel was heard of last, as metrics show it."""

    def __init__(self, channel: str) -> None:
        self.at = time.monotonic()  # of whatever came over the connection
        self.noticed_at = 0.0  # of the last notification, in seconds since 1970; 0: none yet
        self.has_listened = False
        LISTEN_AGE.labels(channel).set_function(lambda: time.monotonic() - self.at)
        LISTEN_LAST_NOTICE.labels(channel).set_function(lambda: self.noticed_at)
        self._reconnects = LISTEN_RECONNECTS.labels(channel)

    def begin(self) -> None:
        """A connection listens from now on."""
        self.at = time.monotonic()
        self._reconnects.inc(int(self.has_listened))
        self.has_listened = True

    def notice(self) -> None:
        """A notification has come."""
        self.at, self.noticed_at = time.monotonic(), time.time()

    def check(self) -> None:
        """The connection has been checked, and lives."""
        self.at = time.monotonic()


def session_name(channel: str) -> str:
    """The application_name of sessions that listen to a channel, as pg_stat_activity shows it."""
    return f"callsheet listening to {channel}"


async def keep_listening(url: str, channel: str, on_notification: Callable[[str], None]) -> None:
    """Listen for ever, on a new connection whenever one is lost. `on_notification` is called with
    each payload, and with "" as soon as a connection listens: what came before then is not
    known."""
    heard = _Heard(channel)
    while True:
        try:
            await listen(url, channel, on_notification, heard)
        except Unavailable as error:
            cause = repr(error.__cause__)
            log.warning("listener", action="not_listening", channel=channel, error=cause)
        except Exception:
            log.exception("listener", action="fault", channel=channel)
        await asyncio.sleep(RECONNECT_DELAY)


async def listen(
    url: str, channel: str, on_notification: Callable[[str], None], heard: _Heard | None = None
) -> None:
    """Call `on_notification` with the payload of each notification until the connection is lost,
    then raise Unavailable.

    It is called with "" as soon as it listens: what was sent before then is not known.
    """
    connection = await connect(url, application_name=session_name(channel))
    try:
        try:
            await _listen(connection, channel, on_notification, heard or _Heard(channel))
        finally:
            await connection.close(timeout=CHECK_TIMEOUT)
    except DRIVER_ERRORS as error:
        raise Unavailable from error
    raise Unavailable("The connection was lost.")


async def _listen(
    connection: asyncpg.Connection,
    channel: str,
    on_notification: Callable[[str], None],
    heard: _Heard,
) -> None:
    def on_notice(*arguments: Any) -> None:  # noqa: ANN401 - the driver's
        heard.notice()
        on_notification(arguments[-1])

    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.add_listener(channel, on_notice)
    heard.begin()
    on_notification("")
    while not ended.is_set():
        try:
            await asyncio.wait_for(ended.wait(), CHECK_INTERVAL)
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=CHECK_TIMEOUT)
            heard.check()
