"""Events, written as the steps do, in transactions that a test ends when it likes."""

from service.intake.store import insert
from service.kit.database.connection import Connection
from service.resources import Resources
from service.subjects.domain.event import HealthNotice, subject_event, subscriber_event
from service.subjects.domain.subject import Subject
from service.subjects.store import events
from service.subjects.store.events import NewEvent
from tests.support.subjects import a_subject


async def write(tx: Connection, resources: Resources, account_id: str) -> Subject:
    """A subject and its event, not committed yet."""
    subject = a_subject(id=resources.new_id("sub"), account_id=account_id)
    assert await insert.add_subjects(tx, [subject])
    await events.append(tx, [NewEvent(subject_event(subject), resources.new_id("dlv"))])
    return subject


async def write_and_commit(resources: Resources, account_id: str) -> Subject:
    async with resources.database.transaction() as tx:
        return await write(tx, resources, account_id)


async def write_bulk(resources: Resources, account_id: str, count: int, size: int) -> None:
    """So many events about no subject, of so many bytes each."""
    one = resources.new_id("sbr")
    made = [
        subscriber_event(
            account_id, one, n, HealthNotice.FAILING, resources.clock(), why="x" * size
        )
        for n in range(1, count + 1)
    ]
    async with resources.database.transaction() as tx:
        await events.append(tx, [NewEvent(event, resources.new_id("dlv")) for event in made])


def ids(*made: Subject) -> list[str]:
    return [subject.id for subject in made]
