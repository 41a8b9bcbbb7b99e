"""Deletions at the provider are counted while they wait for a try, also those that are stopped."""

from service.operations.domain.stages import Stage
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.provider_deletions import ask, made_subject
from tests.support.simulator import SimulatorClient
from tests.support.waiting_stages import found_waiting


async def test_one_that_is_due_waits_since_its_try_was_due(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 5001})
    await ask(api, subject_id)
    clock.advance(7)
    assert await found_waiting(api) == {Stage.ERASURE_DUE: (1, 7)}
    await api.work(Work.ERASE)
    assert await found_waiting(api) == {}
    clock.advance(8)
    assert await found_waiting(api) == {Stage.ERASURE_DUE: (1, 3)}
    await api.work(Work.ERASE)
    assert await found_waiting(api) == {}


async def test_one_that_is_stopped_waits_since_it_was_asked_for(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 1101, "times": None})
    await ask(api, subject_id)
    for minute in range(3):
        await api.work(Work.ERASE)
        assert await found_waiting(api) == {Stage.ERASURE_DUE: (1, 60 * minute)}
        clock.advance(60)
    assert await found_waiting(api) == {Stage.ERASURE_DUE: (1, 180)}
