"""Deleting a subscriber deletes its deliveries, whatever is under way meanwhile."""

import asyncio
from typing import Any

from sqlalchemy import text

from service.subjects.domain.work import Work
from service.subscribers.steps import manage
from service.subscribers.steps.manage import DELETE_BATCH_SIZE
from service.subscribers.store import subscribers
from tests.support.api import Api
from tests.support.database import fetch, wait_until_blocked
from tests.support.webhook_receiver import WebhookReceiver

# So many events of a subject of their own, each waiting for the subscriber.
BACKLOG = """
    WITH one AS (SELECT * FROM events LIMIT 1), made AS (
        INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
        SELECT 'evt_x' || n, o.subject_id, o.account_id, n + 1000, o.type, o.body, o.created_at
        FROM one o, generate_series(1, $2::int) n RETURNING id, created_at
    )
    INSERT INTO deliveries
        (id, event_id, subscriber_id, ordering_key, sequence, state, due_at, created_at)
    SELECT 'dlv_' || id, id, $1, id, 1, 'pending', created_at, created_at FROM made
"""


async def backlog(api: Api, made: dict[str, Any], count: int) -> None:
    await fetch(api.resources, BACKLOG, made["id"], count)


async def left(api: Api) -> int:
    (row,) = await fetch(api.resources, "SELECT count(*) FROM deliveries")
    return int(row["count"])


async def test_a_long_backlog_is_deleted_in_batches(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009", rate=1)
    await api.create()
    await backlog(api, made, DELETE_BATCH_SIZE + 1)
    answer = await api.http.delete(f"/v1/subscribers/{made['id']}")
    assert answer.status_code == 204, answer.text
    assert await left(api) == 0
    for table in ("subscribers", "subscriber_health", "previous_signing_keys"):
        assert await fetch(api.resources, f"SELECT * FROM {table}") == []  # noqa: S608 - ours


async def test_deleting_a_subscriber_cannot_deadlock_with_recorders(api: Api) -> None:
    """Somebody holds a delivery, as a record does, and even then may want health: first come, first
    served."""
    made = await api.subscribe("http://127.0.0.1:65009", rate=1)
    await api.create()
    await backlog(api, made, 3)
    resources = api.resources
    async with resources.database.transaction() as tx:
        held = "SELECT id FROM deliveries ORDER BY id LIMIT 1 FOR UPDATE"
        await tx.execute(text(held))
        removing = asyncio.create_task(api.http.delete(f"/v1/subscribers/{made['id']}"))
        await wait_until_blocked(resources)
        assert await left(api) == 1
        (row,) = await fetch(resources, "SELECT state, disabled_reason FROM subscribers")
        assert (row["state"], row["disabled_reason"]) == ("disabled", manage.REMOVAL_REASON)
        await subscribers.lock_health_row(tx, made["id"])
    assert (await removing).status_code == 204
    assert await left(api) == 0


async def test_a_subscriber_enabled_while_it_is_deleted_is_deleted_all_the_same(api: Api) -> None:
    """With what was made for it meanwhile, which somebody holds who then takes its health."""
    made = await api.subscribe("http://127.0.0.1:65009", rate=1)
    resources = api.resources
    async with resources.database.transaction() as recording:
        async with resources.database.transaction() as tx:
            await subscribers.lock_health_row(tx, made["id"])
            removing = asyncio.create_task(api.http.delete(f"/v1/subscribers/{made['id']}"))
            await wait_until_blocked(resources)
            await fetch(resources, "UPDATE subscribers SET state = 'active'")
            await api.create()
            await recording.execute(text("SELECT id FROM deliveries FOR UPDATE"))
        await wait_until_blocked(resources)
        await subscribers.lock_health_row(recording, made["id"])
    assert (await removing).status_code == 204
    assert await left(api) == 0
    assert await fetch(resources, "SELECT id FROM subscribers") == []


async def test_deleting_while_deliveries_are_made_and_recorded_breaks_no_promise(
    api: Api, subscriber: WebhookReceiver
) -> None:
    doomed = [await api.subscribe(subscriber.url) for _ in range(6)]
    other = await api.subscribe(subscriber.url)

    async def keep_working() -> None:
        for _ in range(8):
            await api.create()
            await api.work(Work.DELIVER)

    async def remove(made: dict[str, Any]) -> int:
        return (await api.http.delete(f"/v1/subscribers/{made['id']}")).status_code

    _, *statuses = await asyncio.gather(keep_working(), *map(remove, doomed))
    assert statuses == [204] * 6
    await api.work(Work.DELIVER)
    rows = await fetch(api.resources, "SELECT subscriber_id, state FROM deliveries")
    assert {row["subscriber_id"] for row in rows} == {other["id"]}
    assert [row["state"] for row in rows] == ["delivered"] * 8
    assert await api.violations() == []


async def test_a_subscriber_deleted_twice_at_once_is_deleted_once(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:65009")
    path = f"/v1/subscribers/{made['id']}"
    answers = await asyncio.gather(*(api.http.delete(path) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {204, 404}
    assert 204 in {answer.status_code for answer in answers}
