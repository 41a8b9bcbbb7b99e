"""Whatever holds up the event loop is seen in its lag."""

import time

import pytest

from service.kit.concurrency import event_loop_lag
from tests.support.scrapes import own_scrape
from tests.support.waiting import wait_until


def measured(suffix: str) -> float:
    return own_scrape().value(f"callsheet_event_loop_lag_seconds_{suffix}")


async def test_what_blocks_the_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop_lag, "INTERVAL", 0.01)
    async with event_loop_lag.measured_event_loop():
        count, total = measured("count"), measured("sum")
        await wait_until(lambda: measured("count") > count)
        time.sleep(0.2)  # noqa: ASYNC251 - that is the fault
        count = measured("count")
        await wait_until(lambda: measured("count") > count)
        assert measured("sum") - total > 0.1
