"""What the provider deducted is held against what was called back, and a lie is found."""

from datetime import timedelta

import pytest

from service.kit.errors import Unavailable
from service.usage.domain.reconciliation import Reconciliation
from service.usage.steps import reconcile
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient

ORPHAN = "sub_00000000000000000000000001"


async def ended(api: Api, provider: SimulatorClient, **fault: object) -> str:
    """The id of a subject that has ended at the provider."""
    await provider.admin("faults", {"units": "1.5", **fault})
    subject_id: str = (await api.create())["id"]
    await api.work()
    await api.wait_until_finished(subject_id)
    return subject_id


async def found(api: Api) -> Reconciliation:
    today = api.resources.clock().date()
    window = (today - timedelta(days=1), today + timedelta(days=1))
    return await reconcile.reconcile(api.resources, window)


async def differences(api: Api) -> list[tuple[str, str]]:
    return [(one.kind.value, one.subject_id) for one in (await found(api)).differences]


async def test_where_both_agree_there_is_no_difference_and_other_tasks_are_apart(
    api: Api, provider: SimulatorClient
) -> None:
    await ended(api, provider)
    await ended(api, provider, fail="no face")
    await ended(api, provider, units=None, fail="no face")
    await provider.admin("settings", {"units": "0.3"})
    await provider.create(external_task_id="made-by-hand")
    await provider.wait_until_finished("made-by-hand")
    report = await found(api)
    assert (report.differences, report.look_ups, report.untold) == ([], 0, {})
    assert (report.subjects, report.tasks) == (3, 3)
    assert [str(task.units) for task in report.foreign] == ["0.3"]
    assert report.lines(10)[-1].startswith("0 differences: 3 subjects here, 3 tasks of ours there")
    (units,) = await fetch(api.resources, "SELECT sum(units) FROM subjects")
    assert str(units["sum"]) == "3.0"


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        ({"units": "1.50000001"}, "deducted_differently"),
        ({"units": "a lot"}, "deducted_differently"),
        ({"unlisted": True}, "missing_there"),
        ({"copy_as": ORPHAN}, "missing_here"),
    ],
)
async def test_each_lie_of_the_provider_is_found(
    api: Api, provider: SimulatorClient, lie: dict[str, object], kind: str
) -> None:
    subject_id = await ended(api, provider)
    await ended(api, provider)
    assert (await provider.admin("lies", {"external_task_id": subject_id, **lie})).is_success
    about = str(lie.get("copy_as", subject_id))
    assert await differences(api) == [(kind, about)]


async def test_a_task_that_is_there_twice_is_found_once(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await ended(api, provider)
    await provider.admin("lies", {"external_task_id": subject_id, "copy_as": subject_id})
    assert await differences(api) == [("missing_here", subject_id)]


async def test_units_that_came_after_the_end_are_seen(api: Api, provider: SimulatorClient) -> None:
    """A repeated callback moves nothing, and writes no units either."""
    subject_id = await ended(api, provider)
    await fetch(api.resources, "UPDATE subjects SET units = NULL")
    (difference,) = (await found(api)).differences
    assert str(difference).startswith(
        f"deducted_differently: {subject_id}: unknown units here, 1.5 units there, task "
    )


async def test_what_one_of_them_does_not_keep_so_long_is_left_untold(
    api: Api, provider: SimulatorClient
) -> None:
    await ended(api, provider)
    await ended(api, provider)
    await fetch(
        api.resources,
        "UPDATE subjects SET provider_task_id = 'gone', finished_at = now() - interval '30 days'"
        " WHERE id = (SELECT min(id) FROM subjects)",
    )
    today = api.resources.clock().date()
    old = (today - timedelta(days=40), today - timedelta(days=1))
    report = await reconcile.reconcile(api.resources, old)
    assert report.untold == {reconcile.NOT_KEPT_THERE: 1}
    await fetch(api.resources, "DELETE FROM subjects")
    api.resources.clock.advance(100 * 86_400)  # type: ignore[attr-defined]
    window = (today - timedelta(days=1), today + timedelta(days=1))
    report = await reconcile.reconcile(api.resources, window)
    assert (report.differences, report.untold) == ([], {reconcile.NOT_KEPT_HERE: 2})


async def test_a_provider_that_cannot_be_asked_is_no_bill_that_is_right(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"on": "list", "code": 1002, "times": None})
    with pytest.raises(Unavailable):
        await found(api)


async def test_no_more_is_looked_up_than_is_bearable(
    api: Api, provider: SimulatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "MAX_LOOK_UPS", 1)
    for _ in range(2):
        await ended(api, provider)
    await fetch(api.resources, "UPDATE subjects SET units = 9")
    with pytest.raises(Unavailable, match="give fewer days"):
        await found(api)
