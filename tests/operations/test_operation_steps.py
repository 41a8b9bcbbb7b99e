"""Bulk operations are done in small steps: at a rate, in turns, and exactly once whatever ends a
worker."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from structlog.typing import EventDict

from service.kit.errors import Unavailable
from service.operations.steps import run_operation
from service.operations.store import operations
from service.retention.steps import prune
from service.subjects.domain.work import Work
from service.subjects.steps import transition as transition_steps
from service.worker import make_work_loops
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.operations import (
    as_operator,
    counts,
    make,
    run_one_step,
    run_steps,
    shown_operation,
    take_small_steps,
)
from tests.support.waiting import wait_until
from tests.support.worker import running_worker

CLAIMED = text("""
    UPDATE subjects SET state = 'submitting', lease_token = 'lse_1', lease_until = now()
    WHERE id = :id
""")


async def queued(api: Api, number: int) -> list[str]:
    """Ids of so many queued subjects, in the order of the queue."""
    return [(await api.create())["id"] for _ in range(number)]


async def canceled(api: Api) -> int:
    """How many subjects have been canceled; each once, since it has one event of it."""
    rows = await fetch(
        api.resources, "SELECT subject_id FROM events WHERE type = 'subject.canceled'"
    )
    assert len({row["subject_id"] for row in rows}) == len(rows)
    return len(rows)


async def stop(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    answer = await api.http.post(
        f"/v1/operations/{operation['id']}/stop", headers=await as_operator(api)
    )
    assert answer.status_code == 200, answer.text
    stopped: dict[str, Any] = answer.json()
    return stopped


async def test_many_small_steps_do_each_once(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 3)
    await queued(api, 10)
    clock.advance(1)
    operation = await make(api, "cancel", {})
    for done in (3, 6, 9):
        await run_one_step(api)
        assert counts(await shown_operation(api, operation)) == (10, done, 0, 0)
    await run_one_step(api)
    ended = await shown_operation(api, operation)
    assert (ended["state"], counts(ended)) == ("done", (10, 10, 0, 0))
    assert await canceled(api) == 10


async def test_a_rate_is_kept_to_and_a_late_step_makes_up_for_little(
    api: Api, clock: Clock
) -> None:
    await queued(api, 20)
    operation = await make(api, "cancel", {}, rate=3)
    for done, seconds in ((3, 0.9), (3, 0.1), (6, 100), (12, 0.9), (12, 0.1), (15, 1)):
        assert (await run_steps(api, operation))["done"] == done
        clock.advance(seconds)


async def test_a_slow_rate_does_one_at_a_time(api: Api, clock: Clock) -> None:
    await queued(api, 3)
    operation = await make(api, "cancel", {}, rate=0.1)
    for done in (1, 1, 2, 2, 3):
        assert (await run_steps(api, operation))["done"] == done
        clock.advance(5)


async def test_a_stopped_operation_does_nothing_more(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 2)
    await queued(api, 5)
    operation = await make(api, "cancel", {})
    await run_one_step(api)
    (claimed,) = await run_operation.claim(api.resources, 1)
    stopped = await stop(api, operation)
    assert (stopped["state"], stopped["stop_reason"], stopped["done"]) == ("stopped", "asked", 2)
    await run_operation.run_step(api.resources, claimed)
    clock.advance(3600)
    assert await run_steps(api, operation) == stopped
    assert await canceled(api) == 2
    assert await stop(api, operation) == stopped, "once more changes nothing"
    ended = await run_steps(api, await make(api, "cancel", {}))
    assert await stop(api, ended) == ended


async def test_who_dies_in_the_middle_of_a_step_has_done_nothing_of_it(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off where its items are done, and its position is not written yet."""
    take_small_steps(monkeypatch, 4)
    await queued(api, 6)
    operation = await make(api, "cancel", {})
    save = operations.save

    async def cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(operations, "save", cut_off)
    with pytest.raises(asyncio.CancelledError):
        await run_one_step(api)
    monkeypatch.setattr(operations, "save", save)
    assert await canceled(api) == 0
    assert (await run_steps(api, operation))["done"] == 0, "its lease runs"
    clock.advance(api.resources.settings.lease)
    assert counts(await run_steps(api, operation)) == (6, 6, 0, 0)
    assert await canceled(api) == 6
    assert await api.violations() == []


async def test_a_worker_that_was_stopped_and_goes_on_is_fenced_off(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 2)
    await queued(api, 5)
    operation = await make(api, "cancel", {})
    (late,) = await run_operation.claim(api.resources, 1)
    clock.advance(api.resources.settings.lease)
    await run_one_step(api)
    await run_operation.run_step(api.resources, late)
    assert counts(await shown_operation(api, operation)) == (5, 2, 0, 0)
    assert await canceled(api) == 2


async def test_two_workers_at_once_do_each_once(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 2)
    await queued(api, 9)
    made = [await make(api, "cancel", {}) for _ in range(2)]
    clock.advance(1)

    async def work() -> None:
        loop = make_work_loops(api.resources)[Work.OPERATE]
        await loop.drain()
        await loop.finish(30)

    async def ended() -> bool:
        await asyncio.gather(work(), work())
        return all([(await shown_operation(api, one))["state"] == "done" for one in made])

    await wait_until(ended)
    assert await canceled(api) == 9
    shown = [counts(await shown_operation(api, one)) for one in made]
    assert sum(done for _, done, _, _ in shown) == 9
    assert all(count == done + skipped for count, done, skipped, _ in shown)


async def test_operations_go_on_in_turns(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_steps(monkeypatch, 1)
    await queued(api, 4)
    made = []
    for tag in (None, "o_101"):
        made.append(await make(api, "cancel", {"tag": tag}))
        clock.advance(1)
    claimed = []
    for _ in range(4):
        (step,) = await run_operation.claim(api.resources, 1)
        await run_operation.run_step(api.resources, step)
        claimed.append(step.operation_id)
        clock.advance(1)
    ids = [one["id"] for one in made]
    assert claimed[:2] == ids
    assert claimed[2] == ids[0]


async def test_an_item_at_fault_is_passed_over_and_counted(
    api: Api, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await queued(api, 4)
    operation = await make(api, "cancel", {})
    decide = transition_steps.decide

    def faulty(resources: Any, subject: Any, update: Any) -> Any:  # noqa: ANN401
        if subject.id == ids[1]:
            raise ZeroDivisionError
        return decide(resources, subject, update)

    monkeypatch.setattr(transition_steps, "decide", faulty)
    ended = await run_steps(api, operation)
    assert (ended["state"], counts(ended)) == ("done", (4, 3, 0, 1))
    assert (await api.read(ids[1]))["state"] == "queued"
    faults = [line for line in logged if line["action"] == "fault"]
    assert {line["operation"] for line in faults} == {operation["id"]}
    for line in faults:  # they are expected
        logged.remove(line)


async def test_a_step_that_could_not_be_written_is_done_later(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queued(api, 2)
    operation = await make(api, "cancel", {})
    save = operations.save

    async def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(operations, "save", away)
    with pytest.raises(Unavailable):
        await run_one_step(api)
    monkeypatch.setattr(operations, "save", save)
    clock.advance(api.resources.settings.lease)
    assert counts(await run_steps(api, operation)) == (2, 2, 0, 0)


async def test_a_subject_that_is_claimed_meanwhile_is_not_canceled(api: Api) -> None:
    """The step waits for whoever moves it, and then finds that it has changed."""
    (id_,) = await queued(api, 1)
    operation = await make(api, "cancel", {})
    async with api.resources.database.transaction() as tx:
        await tx.execute(
            CLAIMED,
            {"id": id_},
        )
        running = asyncio.create_task(run_one_step(api))
        await wait_until_blocked(api.resources)
    await running
    assert counts(await run_steps(api, operation)) == (1, 0, 1, 0)
    assert await canceled(api) == 0


async def test_a_running_worker_does_it_at_once(api: Api) -> None:
    await queued(api, 3)
    operation = await make(api, "cancel", {"state": "queued", "tag": "o_108"})
    assert operation["count"] == 0
    async with running_worker(api.resources.settings):

        async def ended() -> bool:
            return bool((await shown_operation(api, operation))["finished_at"])

        await wait_until(ended)


async def test_old_operations_that_have_ended_are_pruned(api: Api, clock: Clock) -> None:
    ended = await run_steps(api, await make(api, "cancel", {}))
    running = await make(api, "cancel", {})
    await prune.prune(api.resources)
    assert len(await fetch(api.resources, "SELECT * FROM operations")) == 2
    clock.advance(api.resources.settings.retention_actions_days * 86_400 + 1)
    await prune.prune(api.resources)
    kept = await fetch(api.resources, "SELECT id FROM operations")
    assert [row["id"] for row in kept] == [running["id"]]
    assert ended["id"] != running["id"]
