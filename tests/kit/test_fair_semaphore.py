"""Accounts take turns, whoever has brought how much."""

import asyncio

from service.kit.concurrency.fair_semaphore import FairSemaphore


async def test_each_account_has_its_turn_in_the_order_of_its_arrivals() -> None:
    turns = FairSemaphore(1)
    asked = [(name, turns.acquire(name)) for name in ("a", "a", "a", "b", "c", "b")]
    order = []
    while asked:
        ((name, turn),) = [one for one in asked if one[1].done()]
        order.append(name)
        asked.remove((name, turn))
        turns.release(turn)
    assert order == ["a", "a", "b", "c", "a", "b"]


async def test_who_has_gone_is_passed_over_and_leaves_no_place_taken() -> None:
    turns = FairSemaphore(2)
    held = [turns.acquire("a"), turns.acquire("b")]
    gone, waiting = turns.acquire("c"), turns.acquire("d")
    turns.release(gone)
    assert not waiting.done()
    turns.release(held[0])
    assert waiting.done()
    for one in (held[1], waiting):
        turns.release(one)
    assert [turns.acquire("e").done() for _ in range(3)] == [True, True, False]


async def test_a_turn_that_came_while_its_owner_went_is_passed_on() -> None:
    turns = FairSemaphore(1)
    first, second, third = (turns.acquire("a") for _ in range(3))
    turns.release(first)
    assert second.done()
    turns.release(second)
    await asyncio.wait_for(third, 1)
