"""After a restore the provider's tasks are listed that are ours and that nobody here knows."""

from datetime import timedelta

import pytest

from service.installation.steps.unknown_tasks import unknown_tasks
from service.kit.errors import Unavailable
from service.provider.steps import task_list
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.simulator import SimulatorClient


async def test_those_with_an_id_of_ours_that_no_subject_has_are_listed(
    api: Api, provider: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "PAGE", 2)  # of several pages
    known = (await api.create())["id"]
    lost = sorted(api.resources.new_id("sub") for _ in range(3))
    for external_id in (known, *lost, "somebody else's", None):
        assert (await provider.create(external_task_id=external_id)).json()["code"] == 0
    found = [each async for each in unknown_tasks(api.resources, None)]
    assert sorted(id_ for id_, _ in found) == lost
    assert all(report.external_task_id == id_ for id_, report in found)
    assert all(report.provider_task_id for _, report in found)


async def test_an_older_one_that_is_not_here_was_pruned(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    pruned = api.resources.new_id("sub", clock.now - timedelta(days=7))
    lost = api.resources.new_id("sub", clock.now - timedelta(seconds=50))
    for external_id in (pruned, lost):
        await provider.create(external_task_id=external_id)
    assert [id_ async for id_, _ in unknown_tasks(api.resources, clock.now)] == [lost]


async def test_a_provider_that_refuses_is_not_taken_for_one_that_has_none(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"on": "list", "code": 1002, "times": None})
    with pytest.raises(Unavailable):
        [_ async for _ in unknown_tasks(api.resources, None)]
