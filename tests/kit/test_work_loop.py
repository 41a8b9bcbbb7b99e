"""A work loop does what is due, so much at a time; one item's fault is not another's."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.typing import EventDict

from service.kit.concurrency import work_loop
from service.kit.concurrency.work_loop import WorkLoop
from service.kit.errors import Unavailable
from tests.support.waiting import wait_until

OFTEN, NEVER = 0.001, 3600.0


class WorkItems:
    """Items of work, numbered; `gate` lets those in progress end."""

    def __init__(self, count: int) -> None:
        self.left = list(range(count))
        self.handling: set[int] = set()
        self.max_at_once = 0
        self.done: list[int] = []
        self.gate = asyncio.Event()

    async def claim(self, limit: int) -> Sequence[int]:
        taken, self.left = self.left[:limit], self.left[limit:]
        return taken

    async def handle(self, item: int) -> None:
        self.handling.add(item)
        self.max_at_once = max(self.max_at_once, len(self.handling))
        await self.gate.wait()
        self.handling.remove(item)
        self.done.append(item)


def loop_of(
    items: WorkItems, concurrency: int, handle: Callable[[int], Awaitable[None]] | None = None
) -> WorkLoop[int]:
    return WorkLoop("pile", items.claim, handle or items.handle, concurrency)


def actions(logged: list[EventDict]) -> list[object]:
    return [line.get("action") for line in logged]


async def test_no_more_than_its_concurrency_is_under_way_at_once() -> None:
    items = WorkItems(20)
    loop = loop_of(items, 4)
    draining = asyncio.create_task(loop.drain())
    await wait_until(lambda: len(items.handling) == 4)
    items.gate.set()
    await draining
    await loop.finish(10)
    assert (sorted(items.done), items.max_at_once) == (list(range(20)), 4)


async def test_a_fault_in_one_item_does_not_stop_the_others(logged: list[EventDict]) -> None:
    items = WorkItems(5)
    items.gate.set()

    async def handle(item: int) -> None:
        if item == 1:
            raise LookupError("a fault")
        await items.handle(item)

    loop = loop_of(items, 2, handle)
    await loop.drain()
    await loop.finish(10)
    assert sorted(items.done) == [0, 2, 3, 4]
    (line,) = logged
    assert (line["action"], line["loop"]) == ("fault", "pile")
    logged.clear()


async def test_what_could_not_be_recorded_is_left_to_its_lease_and_the_cause_is_logged(
    logged: list[EventDict],
) -> None:
    async def handle(_piece: int) -> None:
        raise Unavailable from ConnectionResetError("the server\nwent away")

    loop = loop_of(WorkItems(2), 2, handle)
    await loop.drain()
    await loop.finish(10)
    assert actions(logged) == ["result_not_recorded"] * 2
    assert {line["error"] for line in logged} == {"ConnectionResetError: the server"}


async def test_a_claim_that_fails_for_now_is_made_again(
    logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "ERROR_PAUSE", 0.0)
    items = WorkItems(3)
    items.gate.set()
    failures = [Unavailable(), Unavailable()]

    async def claim(limit: int) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return await items.claim(limit)

    running = asyncio.create_task(WorkLoop("pile", claim, items.handle, 2).run(OFTEN))
    await wait_until(lambda: len(items.done) == 3)
    running.cancel()
    assert actions(logged) == ["unavailable"] * 2


async def test_a_fault_in_claiming_does_not_end_it(
    logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "ERROR_PAUSE", 0.0)
    failures = [LookupError("a fault")]

    async def claim(_limit: int) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return []

    loop = WorkLoop("pile", claim, WorkItems(0).handle, 2)
    running = asyncio.create_task(loop.run(OFTEN))
    await wait_until(lambda: not failures)
    loop.stop()
    await running
    (line,) = logged
    assert (line["action"], line["loop"]) == ("fault", "pile")
    logged.clear()


async def test_it_works_when_notified_and_by_itself_from_time_to_time() -> None:
    for tick, notified in ((NEVER, True), (OFTEN, False)):
        items = WorkItems(0)
        items.gate.set()
        loop = loop_of(items, 2)
        running = asyncio.create_task(loop.run(tick))
        for number in range(3):
            items.left.append(number)
            if notified:
                loop.notify()
            await wait_until(lambda number=number, items=items: items.done[-1:] == [number])  # type: ignore[misc]
        running.cancel()


async def test_others_are_claimed_as_soon_as_a_handler_says_that_they_are_due() -> None:
    """Though each claim brings so little that the loop is not busy."""
    items = WorkItems(3)
    items.gate.set()

    async def claim(_limit: int) -> Sequence[int]:
        return await items.claim(1)

    async def handle(item: int) -> bool:
        await items.handle(item)
        return True

    running = asyncio.create_task(WorkLoop("pile", claim, handle, 16).run(NEVER))
    await wait_until(lambda: items.done == [0, 1, 2])
    running.cancel()


async def test_what_is_under_way_at_the_end_may_finish_but_not_for_ever() -> None:
    items = WorkItems(2)
    loop = loop_of(items, 3)
    await loop.drain()
    await wait_until(lambda: len(items.handling) == 2)
    await loop.finish(0.01)
    assert items.done == []
    await loop.finish(0.01)


async def test_nothing_under_way_is_finished_at_once() -> None:
    await loop_of(WorkItems(0), 2).finish(NEVER)
