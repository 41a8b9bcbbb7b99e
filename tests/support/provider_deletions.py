"""Subjects whose element the provider is asked to delete."""

from service.erasure.domain.erasure import Erasure, ErasureState
from service.erasure.store import erasures
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.simulator import SimulatorClient


async def made_subject(api: Api, name: str = "Ada") -> str:
    """The id of a subject that the provider has made an element of."""
    subject_id: str = (await api.create(element_name=name))["id"]
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject_id))["state"] == "succeeded"
    return subject_id


async def ask(api: Api, subject_id: str) -> Erasure:
    """Ask that the provider deletes what it made of a subject."""
    asked = await api.http.delete(f"/v1/subjects/{subject_id}", params={"provider": "true"})
    erasure = await erasure_of(api, subject_id)
    assert asked.status_code == (202 if erasure.state is ErasureState.PENDING else 200), asked.text
    return erasure


async def erasure_of(api: Api, subject_id: str) -> Erasure:
    async with api.resources.database.autocommit() as tx:
        return (await erasures.by_subjects(tx, [subject_id]))[subject_id]


async def deletes(provider: SimulatorClient) -> list[str]:
    """What the simulator did at each delete: done, refused or dropped."""
    return [entry["outcome"] for entry in (await provider.ledger())["deletes"]]
