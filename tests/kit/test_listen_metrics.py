"""How long ago a listener heard of Postgres, and how often it had to begin again, as metrics."""

import asyncio
import time
from contextlib import suppress

from service.kit.database.listen import keep_listening
from tests.conftest import execute
from tests.support.metrics import shown
from tests.support.waiting import wait_until

CHANNEL = "test_listen_metrics"
END_LISTENERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'callsheet listening %'
"""


def value(name: str) -> float:
    return shown(f"listen_{name}")[CHANNEL,]


async def test_notifications_and_reconnects_are_told(database_url: str) -> None:
    heard: list[str] = []
    listening = asyncio.create_task(keep_listening(database_url, CHANNEL, heard.append))
    try:
        await wait_until(lambda: heard == [""])
        assert value("last_notice_timestamp_seconds") == 0
        assert value("reconnects_total") == 0
        began = time.time()
        await execute(database_url, f"NOTIFY {CHANNEL}, 'payload'")
        await wait_until(lambda: heard == ["", "payload"])
        assert began <= value("last_notice_timestamp_seconds") <= time.time()
        assert value("age_seconds") >= 0
        await execute(database_url, END_LISTENERS)
        await wait_until(lambda: heard == ["", "payload", ""])
        assert value("reconnects_total") == 1
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def test_one_that_never_gets_through_grows_older(database_url: str) -> None:
    nowhere = f"{database_url}_that_is_not_there"
    listening = asyncio.create_task(keep_listening(nowhere, CHANNEL, lambda _: None))
    try:
        await wait_until(lambda: value("age_seconds") > 0)
        before = value("age_seconds")
        await wait_until(lambda: value("age_seconds") > before)
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
