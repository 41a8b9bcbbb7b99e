"""Events, written as the steps do, in transactions that a test ends when it likes."""

from service.core.events import event_of, operational
from service.core.subjects import Subject
from service.core.subscriber_health import HealthNotice
from service.steps.resources import Resources
from service.store import events, insert
from service.store.connection import Connection
from service.store.events import NewEvent
from tests.make import a_subject


async def write(tx: Connection, resources: Resources, account_id: str) -> Subject:
    """A subject and its event, not committed yet."""
    subject = a_subject(id=resources.new_id("sub"), account_id=account_id)
    assert await insert.add_subjects(tx, [subject])
    await events.append(tx, [NewEvent(event_of(subject), resources.new_id("dlv"))])
    return subject


async def write_and_commit(resources: Resources, account_id: str) -> Subject:
    async with resources.database.transaction() as tx:
        return await write(tx, resources, account_id)


async def write_bulk(resources: Resources, account_id: str, count: int, size: int) -> None:
    """So many events about no subject, of so many bytes each."""
    one = resources.new_id("sbr")
    made = [
        operational(account_id, one, n, HealthNotice.FAILING, resources.clock(), why="x" * size)
        for n in range(1, count + 1)
    ]
    async with resources.database.transaction() as tx:
        await events.append(tx, [NewEvent(event, resources.new_id("dlv")) for event in made])


def ids(*made: Subject) -> list[str]:
    return [subject.id for subject in made]
