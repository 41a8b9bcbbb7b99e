"""Whatever holds up the event loop is seen in its lag."""

import time

import pytest

from service.kit.concurrency import event_loop_lag
from tests.support.metrics import MetricChanges
from tests.support.waiting import wait_until


async def test_what_blocks_the_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop_lag, "INTERVAL", 0.01)
    changes = MetricChanges()

    def lag(suffix: str) -> float:
        return changes.of(f"event_loop_lag_seconds_{suffix}").get((), 0.0)

    async with event_loop_lag.measured_event_loop():
        await wait_until(lambda: lag("count") > 0)
        before = lag("sum")
        time.sleep(0.2)  # noqa: ASYNC251 - that is the fault
        count = lag("count")
        await wait_until(lambda: lag("count") > count)
        assert lag("sum") - before > 0.1
