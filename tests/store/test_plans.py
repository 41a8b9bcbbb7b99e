"""Every statement of a subject's life finds its rows by an index, however large the tables are."""

from typing import Any

import asyncpg
import pytest

from service.steps import callback, housekeeping
from service.steps.receive import Received, receive
from service.steps.resources import Resources
from tests.calling import record, signed
from tests.conftest import Api
from tests.local.simulating import Receiver, Remote
from tests.store.statements import heard, plan, scans

LARGE = {"subjects", "events", "deliveries", "attempts", "callbacks", "idempotency_keys"}
SMALL = {  # read in their order, as far as is needed: these hold what is under way only
    "ix_subjects_queued",
    "ix_subjects_with_provider",
    "ix_callbacks_unknown",
    "ix_deliveries_due",
    "ix_subjects_finished",  # and of this one the newest so many are read
}
FILLED = """
    INSERT INTO accounts (id, name, created_at) VALUES ('acc_old', 'old', now());
    INSERT INTO subjects (id, account_id, external_task_id, fingerprint, document, tags, state,
        version, provider_task_id, result, next_try_at, deadline, created_at, updated_at,
        finished_at)
    SELECT 'sub_old' || n, 'acc_old', 'mine' || n, 'f', '{}', '{}', 'succeeded', 1,
        'task' || n, '{}', now(), now(), now(), now(), now()
    FROM generate_series(1, 5000) n;
    INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
    SELECT 'evt_old' || n, 'sub_old' || n, 'acc_old', 1, 'subject.succeeded', '', now()
    FROM generate_series(1, 5000) n;
    INSERT INTO callbacks (id, source, dedup_key, subject_id, body, headers, verdict, received_at)
    SELECT 'cbk_old' || n, 'provider', 'msg_old' || n, 'sub_old' || n, '', '{}', 'applied', now()
    FROM generate_series(1, 5000) n;
    ANALYZE
"""


async def one_life(api: Api, provider: Remote, subscriber: Receiver) -> None:
    """Accepted, submitted, called back, looked up, delivered, read; and what never came."""
    await api.subscribe(subscriber.url)
    first = await api.create(external_task_id="a-name")
    await api.work()
    await api.ended(first["id"])
    await provider.admin("faults", {"lose": True})
    second = await api.create()
    await api.work()
    api.resources.clock.pass_by(60)  # type: ignore[attr-defined]
    await api.work()
    assert (await api.read(second["id"]))["finished_at"]
    await api.http.get("/v1/events")
    await api.http.get("/v1/subjects", params={"external_task_id": "a-name"})
    await api.http.post("/callbacks", content=b"{}", headers=signed(b"{}", api.resources.clock()))
    await api.http.post("/callbacks", content=b"{}")
    await api.work()
    await housekeeping.prune(api.resources)
    await housekeeping.learn(api.resources)


def bounded(scan: dict[str, Any]) -> bool:
    """Whether it goes to what is sought, or to as many rows as are in such an index."""
    if scan["Node Type"] == "Bitmap Heap Scan" or "Index Cond" in scan:
        return True
    return scan.get("Index Name") in SMALL


@pytest.mark.parametrize("before", ["SELECT", FILLED], ids=["empty", "filled"])
async def test_no_statement_reads_a_whole_table(
    api: Api, provider: Remote, subscriber: Receiver, before: str
) -> None:
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        await connection.execute(before)
        with heard() as statements:
            await one_life(api, provider, subscriber)
        wrong = [
            (scan.get("Index Name"), statement)
            for statement in dict.fromkeys(statements)
            for scan in scans(await plan(connection, statement))
            if scan.get("Relation Name", "") in LARGE and not bounded(scan)
        ]
        assert not wrong, "\n".join(f"{index}: {statement}" for index, statement in wrong)
    finally:
        await connection.close()


async def test_a_batch_takes_as_many_statements_as_one_callback(resources: Resources) -> None:
    counts = {}
    for size in (3, 1, 2, 40):  # the first finds out on its new connection what types there are
        bodies = [record(None, task=f"{size}{number}") for number in range(size)]
        incoming = [
            receive(
                resources,
                Received(
                    "provider",
                    None,
                    signed(body, resources.clock(), f"msg_{size}_{number}"),
                    body,
                    resources.clock(),
                ),
            )
            for number, body in enumerate(bodies)
        ]
        with heard() as statements:
            taken = await callback.store(resources, incoming)
        assert {one.verdict for one in taken} == {"unknown"}
        counts[size] = len(statements)
    assert (counts[1], counts[2], counts[40]) == (3, 3, 3)
