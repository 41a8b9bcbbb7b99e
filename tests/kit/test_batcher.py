"""A batcher: what waits goes together, a poisoned member fails alone, and too much is refused."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.typing import EventDict

from service.kit.concurrency.batcher import MAX_WAITING_BYTES, Batcher
from service.kit.errors import Unavailable
from service.kit.request_id import current_request_id, set_request_id
from tests.support.metrics import MetricChanges


class Store:
    """Writes only while the gate is open; remembers its batches."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.batches: list[list[int]] = []

    async def write(self, batch: Sequence[int]) -> Sequence[int]:
        self.entered.set()
        await self.gate.wait()
        self.batches.append(list(batch))
        if -1 in batch:
            raise ValueError("poison")
        if -2 in batch:
            raise Unavailable
        return [item * 2 for item in batch]


async def submit(batcher: Batcher[int, int], item: int) -> int:
    return await batcher.submit(item)


async def together(
    store: Store, *items: int, max_batch: int = 32, max_waiting: int = 100, size: int = 0
) -> list[int | BaseException]:
    """Submit all while the one writer is busy with a first item, then let it write."""
    async with Batcher(
        store.write,
        "test",
        writers=1,
        max_batch=max_batch,
        max_waiting=max_waiting,
        size_of=lambda _: size,
    ) as batcher:
        first = asyncio.create_task(submit(batcher, 100))
        await store.entered.wait()
        rest = [asyncio.create_task(submit(batcher, item)) for item in items]
        await asyncio.sleep(0)
        store.gate.set()
        assert await first == 200
        return await asyncio.gather(*rest, return_exceptions=True)


async def test_what_arrives_while_a_batch_is_written_goes_with_the_next_one() -> None:
    store = Store()
    assert await together(store, 1, 2, 3) == [2, 4, 6]
    assert store.batches == [[100], [1, 2, 3]]


async def test_what_arrives_together_goes_together() -> None:
    store = Store()
    store.gate.set()
    async with Batcher(store.write, "test") as batcher:

        async def late(item: int) -> int:
            await asyncio.sleep(0)  # as a request that is read in one pass of the loop
            return await batcher.submit(item)

        assert await asyncio.gather(*map(late, range(20))) == [item * 2 for item in range(20)]
    assert store.batches == [list(range(20))]


async def test_a_batch_is_bounded() -> None:
    store = Store()
    assert await together(store, 1, 2, 3, max_batch=2) == [2, 4, 6]
    assert store.batches == [[100], [1, 2], [3]]


async def test_the_size_of_each_batch_is_counted() -> None:
    changes = MetricChanges()
    assert await together(Store(), 1, 2, 3) == [2, 4, 6]
    assert changes.of("batch_items_count") == {("test",): 2}
    assert changes.of("batch_items_sum") == {("test",): 1 + 3}


async def test_a_poisoned_member_fails_alone(logged: list[EventDict]) -> None:
    results = await together(Store(), 1, -1, 3)
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], Unavailable)
    (fault,) = logged
    assert "poison" in fault["exception"]
    logged.clear()


async def test_a_store_that_is_away_refuses_the_whole_batch() -> None:
    results = await together(Store(), 1, -2, 3)
    assert all(isinstance(result, Unavailable) for result in results)


async def test_too_much_waiting_is_refused_and_nothing_of_it_is_kept() -> None:
    store = Store()
    results = await together(store, 1, 2, 3, max_waiting=2)
    assert results[:2] == [2, 4]
    assert isinstance(results[2], Unavailable)
    assert store.batches == [[100], [1, 2]]


async def test_too_many_bytes_waiting_are_refused_too() -> None:
    store = Store()
    results = await together(store, 1, 2, 3, size=MAX_WAITING_BYTES // 3)
    assert results[:2] == [2, 4]
    assert isinstance(results[2], Unavailable)


async def test_the_bytes_of_what_is_written_are_given_back() -> None:
    store = Store()
    store.gate.set()
    async with Batcher(store.write, "test", size_of=lambda _: MAX_WAITING_BYTES) as batcher:
        assert [await batcher.submit(item) for item in (1, 2, 3)] == [2, 4, 6]


async def test_what_was_poisoned_by_a_race_is_taken_by_itself(logged: list[EventDict]) -> None:
    failed = False

    async def write(batch: Sequence[int]) -> Sequence[int]:
        nonlocal failed
        if not failed:
            failed = True
            raise ValueError("somebody else was quicker")
        return batch

    async with Batcher(write, "test") as batcher:
        assert await batcher.submit(1) == 1
    assert logged == []


@pytest.mark.parametrize(("item", "expected"), [(2, 4), (-2, Unavailable)])
async def test_whoever_stopped_waiting_is_passed_over(item: int, expected: object) -> None:
    store = Store()
    async with Batcher(store.write, "test", writers=1) as batcher:
        gone, stays = (asyncio.create_task(submit(batcher, number)) for number in (1, item))
        await asyncio.sleep(0)
        gone.cancel()
        store.gate.set()
        (result,) = await asyncio.gather(stays, return_exceptions=True)
        assert result == expected or type(result) is expected


async def test_who_has_an_answer_may_submit_again_at_once() -> None:
    """Even before anybody is told that the writer of the first batch has ended."""
    store = Store()
    store.gate.set()
    async with Batcher(store.write, "test", writers=1) as batcher, asyncio.timeout(10):
        assert [await batcher.submit(item) for item in (1, 2, 3)] == [2, 4, 6]
    assert store.batches == [[1], [2], [3]]


async def test_what_is_written_for_many_is_written_in_no_request_of_one() -> None:
    seen: list[str | None] = []

    async def write(batch: Sequence[int]) -> Sequence[int]:
        seen.append(current_request_id())
        return batch

    set_request_id("the-first")
    async with Batcher(write, "test") as batcher:
        await asyncio.gather(submit(batcher, 1), submit(batcher, 2))
    assert seen == [None]
    assert current_request_id() == "the-first"
