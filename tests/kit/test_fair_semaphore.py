"""Owners take turns, however many slots each asks for."""

import asyncio

from service.kit.concurrency.fair_semaphore import FairSemaphore


async def test_each_owner_has_its_turn_in_the_order_of_its_arrivals() -> None:
    semaphore = FairSemaphore(1)
    waiting = [(owner, semaphore.acquire(owner)) for owner in ("a", "a", "a", "b", "c", "b")]
    order = []
    while waiting:
        ((owner, turn),) = [(owner, turn) for owner, turn in waiting if turn.done()]
        order.append(owner)
        waiting.remove((owner, turn))
        semaphore.release(turn)
    assert order == ["a", "a", "b", "c", "a", "b"]


async def test_who_has_gone_is_passed_over_and_leaves_no_slot_taken() -> None:
    semaphore = FairSemaphore(2)
    held = [semaphore.acquire("a"), semaphore.acquire("b")]
    gone, waiting = semaphore.acquire("c"), semaphore.acquire("d")
    semaphore.release(gone)
    assert not waiting.done()
    semaphore.release(held[0])
    assert waiting.done()
    for turn in (held[1], waiting):
        semaphore.release(turn)
    assert [semaphore.acquire("e").done() for _ in range(3)] == [True, True, False]


async def test_a_turn_that_came_while_its_owner_went_is_passed_on() -> None:
    semaphore = FairSemaphore(1)
    first, second, third = (semaphore.acquire("a") for _ in range(3))
    semaphore.release(first)
    assert second.done()
    semaphore.release(second)
    await asyncio.wait_for(third, 1)
