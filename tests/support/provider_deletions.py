"""Subjects whose element the provider is asked to delete."""

from service.erasure.domain.erasure import Erasure
from service.erasure.steps import delete_at_provider
from service.erasure.store import erasures
from service.subjects.domain.work import Work
from service.subjects.store import subjects
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
    async with api.resources.database.transaction() as tx:
        subject = await subjects.lock(tx, subject_id)
        assert subject is not None
        return await delete_at_provider.request(tx, subject, api.resources.clock())


async def erasure_of(api: Api, subject_id: str) -> Erasure:
    async with api.resources.database.autocommit() as tx:
        return (await erasures.by_subjects(tx, [subject_id]))[subject_id]


async def deletes(provider: SimulatorClient) -> list[str]:
    """What the simulator did at each delete: done, refused or dropped."""
    return [entry["outcome"] for entry in (await provider.ledger())["deletes"]]
