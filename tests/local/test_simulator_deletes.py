"""The simulator deletes elements as rule P5 has it, and says so in its records."""

from pathlib import Path

import httpx
import pytest

from service.provider.domain.requests import DELETE_PATH, OTHER_DELETE_PATH
from tests.support.simulator import NEVER_FINISH, SimulatorClient, simulator


async def made_element(remote: SimulatorClient, name: str) -> str:
    """The id of the element that a new task of this external id made, as a text."""
    await remote.create(external_task_id=name)
    record = await remote.wait_until_finished(name)
    return str(record["task_result"]["elements"][0]["element_id"])


async def element_status(remote: SimulatorClient, name: str) -> str:
    record = (await remote.query(name)).json()["data"]
    return str(record["task_result"]["elements"][0]["status"])


@pytest.mark.parametrize("path", [DELETE_PATH, OTHER_DELETE_PATH])
async def test_an_element_is_deleted_once_and_its_task_stays(path: str) -> None:
    async with simulator() as remote:
        element_id = await made_element(remote, "a")
        before = await element_status(remote, "a")
        deleted = await remote.http.post(path, json={"element_id": element_id})
        again = await remote.http.post(path, json={"element_id": element_id})
        after = await element_status(remote, "a")
        ledger = await remote.ledger("a")
    assert (deleted.status_code, deleted.json()["code"]) == (200, 0)
    assert "data" not in deleted.json()
    assert (again.status_code, again.json()["code"]) == (400, 1201)
    assert again.json()["message"] == f"Element not found by element_id: {element_id}"
    assert (before, after) == ("succeed", "deleted")
    assert [(entry["outcome"], entry["element_id"]) for entry in ledger["deletes"]] == [
        ("done", element_id)
    ]
    assert (ledger["counts"]["deletes_done"], ledger["counts"]["deletes_refused"]) == (1, 1)


async def test_an_id_that_is_a_number_or_unknown_deletes_nothing() -> None:
    async with simulator() as remote:
        element_id = await made_element(remote, "a")
        for wrong in (int(element_id), None, [element_id], "7"):
            answer = await remote.http.post(DELETE_PATH, json={"element_id": wrong})
            assert answer.json()["code"] == 1201
        assert await element_status(remote, "a") == "succeed"


async def test_faults_meet_deletes_before_the_element_goes_or_after() -> None:
    async with simulator() as remote:
        element_id = await made_element(remote, "a")
        await remote.admin("faults", {"on": "delete", "external_task_id": "a", "code": 1301})
        refused = await remote.http.post(DELETE_PATH, json={"element_id": element_id})
        assert (refused.json()["code"], await element_status(remote, "a")) == (1301, "succeed")
        await remote.admin("faults", {"on": "delete", "answer": "drop", "accept": False})
        with pytest.raises(httpx.TransportError):
            await remote.http.post(DELETE_PATH, json={"element_id": element_id})
        assert await element_status(remote, "a") == "succeed"
        await remote.admin("faults", {"on": "delete", "code": 5002, "accept": True})
        lost = await remote.http.post(DELETE_PATH, json={"element_id": element_id})
        assert (lost.json()["code"], await element_status(remote, "a")) == (5002, "deleted")
        outcomes = [entry["outcome"] for entry in (await remote.ledger("a"))["deletes"]]
    assert outcomes == ["refused", "dropped", "done"]


async def test_a_deleted_element_stays_deleted_over_a_restart(tmp_path: Path) -> None:
    async with simulator(data=tmp_path) as remote:
        element_id = await made_element(remote, "a")
        kept = await made_element(remote, "b")
        await remote.http.post(DELETE_PATH, json={"element_id": element_id})
    async with simulator(NEVER_FINISH, data=tmp_path) as remote:
        assert await element_status(remote, "a") == "deleted"
        again = await remote.http.post(DELETE_PATH, json={"element_id": element_id})
        first = await remote.http.post(DELETE_PATH, json={"element_id": kept})
    assert (again.json()["code"], first.json()["code"]) == (1201, 0)
