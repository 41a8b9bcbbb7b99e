"""`callsheet usage`: for people, as CSV, and held against the provider's list."""

import csv
import io

import pytest

from service.cli_arguments import parser
from service.cli_operations import show_usage
from service.kit.errors import Invalid
from tests.support.api import Api
from tests.support.simulator import SimulatorClient
from tests.usage.test_reconcile import ended


async def run(api: Api, *words: str) -> int:
    return await show_usage(api.resources, parser().parse_args(["usage", *words]))


async def test_usage_is_shown_by_day_and_in_sum(
    api: Api, provider: SimulatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await ended(api, provider)
    await api.http.post("/v1/subjects", json={})
    await api.http.get("/v1/usage")  # stores what the process has counted
    capsys.readouterr()
    assert await run(api) == 0
    day = api.resources.clock().date()
    assert capsys.readouterr().out.splitlines() == [
        f"{day} acme - refused: 1, 0 units",
        f"{day} acme image_refer succeeded: 1, 1.5 units",
        "all: 2, 1.5 units",
    ]
    assert await run(api, "--csv", "--account", "acme", "--to", str(day)) == 0
    assert list(csv.DictReader(io.StringIO(capsys.readouterr().out))) == []
    assert await run(api, "--csv") == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [(row["account"], row["outcome"], row["units"]) for row in rows] == [
        ("acme", "refused", "0"),
        ("acme", "succeeded", "1.5"),
    ]


async def test_a_reconciliation_exits_with_0_1_or_2(
    api: Api, provider: SimulatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    subject_id = await ended(api, provider)
    await provider.create(external_task_id="mine\x1b[2J")
    capsys.readouterr()
    assert await run(api, "--reconcile") == 0
    await provider.admin("lies", {"external_task_id": subject_id, "units": "2"})
    assert await run(api, "--reconcile") == 1
    said = capsys.readouterr().out
    assert f"deducted_differently: {subject_id}: 1.5 units here, 2 units there, task " in said
    assert "\x1b" not in said
    await provider.admin("faults", {"on": "list", "code": 1002, "times": None})
    assert await run(api, "--reconcile") == 2
    assert capsys.readouterr().err.startswith("The provider refuses, with code 1002: ")


@pytest.mark.parametrize(
    "words",
    [("--from", "yesterday"), ("--account", "nobody"), ("--reconcile", "--account", "acme")],
)
async def test_what_cannot_be_meant_is_refused(api: Api, words: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        await run(api, *words)
