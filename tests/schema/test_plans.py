"""Every statement of a subject's life finds its rows by an index, however large the tables are."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.callbacks.domain.callback import Callback, RawCallback
from service.callbacks.steps import ingest
from service.callbacks.steps.verify import verify
from service.installation.steps.look_ups import look_up_everything
from service.installation.store import installation
from service.installation.store.known import known_ids
from service.kit.leases import Lease
from service.operations.steps import audit, snapshot
from service.operations.store import audit_ranges, gauges, waiting
from service.reconciliation.steps import learn_durations, renew_leases
from service.resources import Resources
from service.retention.steps import prune
from service.subjects.store import subjects
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers
from tests.support.database import executed_statements, query_plan, table_scans
from tests.support.deliveries import CLOSED_PORT, deliveries_of
from tests.support.erasures import erased
from tests.support.simulator import SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver

LARGE = {"subjects", "events", "deliveries", "attempts", "callbacks", "idempotency_keys"}
SMALL = {  # read in their order, as far as is needed: these hold what is under way only
    "ix_subjects_queued",
    "ix_subjects_ready",
    "ix_subjects_media_check",
    "ix_subjects_with_provider",
    "ix_callbacks_task",
    "ix_deliveries_due",
    "ix_deliveries_leased",
    "ix_deliveries_retrying",
    "ix_events_all",  # and of this one the newest so many are read
}
HISTORY = {"ix_deliveries_subscriber"}  # all that a subscriber ever got: for its list only
EMPTIED = "TRUNCATE accounts, subjects, callbacks CASCADE; ANALYZE"
FILLED = """
    INSERT INTO accounts (id, name, created_at) VALUES ('acc_old', 'old', now());
    INSERT INTO subjects (id, account_id, external_task_id, fingerprint, document, tags, state,
        version, provider_task_id, result, available_at, deadline, created_at, updated_at,
        finished_at)
    SELECT 'sub_old' || n, 'acc_old', 'mine' || n, 'f', '{}', '{}', 'succeeded', 1,
        'task' || n, '{}', now(), now(), now(), now(), now()
    FROM generate_series(1, 5000) n;
    INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
    SELECT 'evt_old' || n, 'sub_old' || n, 'acc_old', 1, 'subject.succeeded', '', now()
    FROM generate_series(1, 5000) n;
    INSERT INTO callbacks (id, source, dedup_key, subject_id, body, size, headers, verdict,
        verification, received_at)
    SELECT 'cbk_old' || n, 'provider', 'msg_old' || n, 'sub_old' || n, '', 0, '{}', 'applied',
        'signed', now()
    FROM generate_series(1, 5000) n;
    INSERT INTO subscribers (id, account_id, url, state, secret, created_at)
    SELECT 'sbr_old' || n, 'acc_old', 'https://example.com', 'active', '', now()
    FROM generate_series(1, 10) n;
    INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state, attempts,
        created_at, finished_at)
    SELECT 'dlv_old' || n, 'evt_old' || n, 'sbr_old' || 1 + n % 10, 'sub_old' || n, 1, 'delivered',
        1, now(), now()
    FROM generate_series(1, 5000) n;
    INSERT INTO attempts (delivery_id, number, started_at, latency_ms, response_body, delivered)
    SELECT 'dlv_old' || n, 1, now(), 1, '', true FROM generate_series(1, 5000) n;
    ANALYZE
"""
# To these a long queue, half of it with media to be checked, and as many deliveries that failed.
QUEUE = """
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,
        media_check_at, available_at, deadline, created_at, updated_at)
    SELECT 'sub_new' || n, 'acc_old', 'f', '{}', '{}', 'queued', 1,
        CASE WHEN n % 2 = 0 THEN now() END, now(), now(), now(), now()
    FROM generate_series(1, 5000) n;
    INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state, attempts,
        due_at, created_at)
    SELECT 'dlv_new' || n, 'evt_old' || n, 'sbr_old' || 1 + n % 10, 'sub_new' || n, 1, 'pending',
        1, now(), now()
    FROM generate_series(1, 5000) n;
    ANALYZE
"""


async def one_life(api: Api, provider: SimulatorClient, subscriber: WebhookReceiver) -> None:
    """Accepted, submitted, called back, looked up, delivered, read; and what never came."""
    await api.subscribe(subscriber.url)
    first = await api.create(external_task_id="a-name")
    await api.work()
    await api.wait_until_finished(first["id"])
    await provider.admin("faults", {"lose": True})
    second = await api.create()
    await api.work()
    api.resources.clock.advance(60)  # type: ignore[attr-defined]
    await api.work()
    assert (await api.read(second["id"]))["finished_at"]
    await api.http.get(f"/v1/subjects/{second['id']}/story")
    await api.http.get("/v1/events")
    await api.http.get("/v1/subjects", params={"external_task_id": "a-name"})
    await api.http.post(
        "/callbacks", content=b"{}", headers=signed_headers(b"{}", api.resources.clock())
    )
    await api.http.post("/callbacks", content=b"{}")
    await api.work()
    await snapshot.take_if_due(api.resources)
    await prune.prune(api.resources)
    await learn_durations.learn(api.resources)
    await erased(api, first["id"])
    await renew_leases.renew(api.resources, [Lease("lse_1", first["id"], api.resources.clock())])


def bounded(scan: dict[str, Any]) -> bool:
    """Whether it goes to what is sought, or to as many rows as are in such an index."""
    if scan["Node Type"] == "Bitmap Heap Scan":
        return True
    index = scan.get("Index Name")
    return index in SMALL or ("Index Cond" in scan and index not in HISTORY)


def sorts_to_limit(node: dict[str, Any]) -> bool:
    """Whether a plan reads and sorts more than the limit that it then keeps to."""
    below = node.get("Plans", ())
    sorts = node["Node Type"] == "Limit" and below[0]["Node Type"] == "Sort"
    return sorts or any(map(sorts_to_limit, below))


async def unbounded(resources: Resources, tables: str, statements: list[str]) -> list[str]:
    """The statements that would read more than they seek, once this was done to the tables."""
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute(tables)
        return [
            f"{scan.get('Index Name')}: {statement}"
            for statement in dict.fromkeys(statements)
            for scan in table_scans(await query_plan(connection, statement))
            if scan.get("Relation Name", "") in LARGE and not bounded(scan)
        ]
    finally:
        await connection.close()


async def test_no_statement_of_a_life_reads_a_whole_table(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    with executed_statements() as statements:
        await one_life(api, provider, subscriber)
    wrong = await unbounded(api.resources, FILLED, statements)
    assert not wrong, "\n".join(wrong)


async def test_what_a_restored_database_looks_up_is_found_among_what_is_unfinished(
    api: Api,
) -> None:
    await api.create()
    with executed_statements() as statements:
        async with api.resources.database.autocommit() as tx:
            found = await installation.read(tx)
        due = await look_up_everything(api.resources, found)
        assert due.asked_about == 1
        async with api.resources.database.autocommit() as tx:
            await known_ids(tx, ["sub_1"])
    wrong = await unbounded(api.resources, FILLED, statements)
    assert not wrong, "\n".join(wrong)


async def test_the_newest_events_are_read_in_their_order_and_no_more_of_them(
    resources: Resources,
) -> None:
    with executed_statements() as statements:
        async with resources.database.autocommit() as tx:
            place = await audit_ranges.end_of_feed(tx)
            await audit_ranges.changes_before(tx, place, resources.clock(), 1)
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute(FILLED)
        plan = await query_plan(connection, statements[-1])
    finally:
        await connection.close()
    assert not sorts_to_limit(plan)
    assert [scan["Index Name"] for scan in table_scans(plan)] == ["ix_events_all"]


async def test_an_external_id_is_sought_directly_even_if_planned_when_all_was_empty(
    api: Api,
) -> None:
    """By the account alone, as other indexes have it, all its subjects would be read."""
    with executed_statements() as statements:
        made = await api.create(external_task_id="a-name")
        async with api.resources.database.autocommit() as connection:
            subject = await subjects.get(connection, made["id"])
            assert subject
            name = (subject.account_id, "a-name")
            assert await subjects.by_external_id(connection, [name]) == {name: subject}
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        await connection.execute(EMPTIED)
        scans = [
            scan["Index Name"]
            for statement in statements
            if "external_task_id >=" in statement
            for scan in table_scans(await query_plan(connection, statement))
            if scan.get("Relation Name") == "subjects"
        ]
    finally:
        await connection.close()
    assert scans == ["uq_subjects_account_id_external_task_id"] * 2


@pytest.mark.parametrize(
    "tables", [EMPTIED, FILLED, f"{FILLED}; {QUEUE}"], ids=["empty", "history", "queue"]
)
async def test_a_snapshot_reads_the_index_entries_of_what_waits_and_no_row(
    resources: Resources, tables: str
) -> None:
    """Also if it was planned when all was empty: a queue is long before anybody analyzes it. Of
    subscribers it looks up the health."""
    with executed_statements() as statements:
        async with resources.database.autocommit() as tx:
            await waiting.read(tx, resources.clock())
            await gauges.subscribers(tx)
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute(tables)
        plans = [await query_plan(connection, statement) for statement in dict.fromkeys(statements)]
    finally:
        await connection.close()
    scans = [scan for plan in plans for scan in table_scans(plan)]
    scans.remove(next(scan for scan in scans if scan["Index Name"] == "pk_subscriber_health"))
    assert {scan["Node Type"] for scan in scans} == {"Index Only Scan"}
    assert {scan["Index Name"] for scan in scans} == {
        "ix_subscribers_made",
        "ix_subjects_unfinished",
        "ix_subjects_unfinished_media",
        "ix_subjects_poll",
        "ix_deliveries_due",
        "ix_deliveries_retrying",
        "ix_erasures_pending",
        "ix_erasures_stopped",
    }
    assert not any(map(sorts_to_limit, plans))


@pytest.mark.parametrize(
    "tables", [EMPTIED, FILLED, f"{FILLED}; {QUEUE}"], ids=["empty", "history", "queue"]
)
async def test_an_audit_reads_the_rows_of_its_slices_by_their_ids(api: Api, tables: str) -> None:
    await api.create()
    with executed_statements() as statements:
        for since in (None, api.resources.clock() - timedelta(hours=1)):
            await audit.run_audit(api.resources, audit.Extent(since))
    if tables == EMPTIED:  # only by its statistics is the index of leased deliveries known as small
        statements = [one for one in statements if "delivery_lease" not in one]
    wrong = await unbounded(api.resources, tables, statements)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "tables", [EMPTIED, FILLED, f"{FILLED}; {QUEUE}"], ids=["empty", "history", "queue"]
)
async def test_to_say_why_reads_the_few_rows_that_it_is_about(api: Api, tables: str) -> None:
    subscriber = await api.subscribe(CLOSED_PORT)
    made = await api.create()
    (delivery,) = await deliveries_of(api, subscriber)
    with executed_statements() as statements:
        for path in (
            f"subjects/{made['id']}",
            f"deliveries/{delivery['id']}",
            f"subscribers/{subscriber['id']}",
        ):
            assert (await api.http.get(f"/v1/{path}")).status_code == 200
    if tables == EMPTIED:  # only by its statistics is the index of leased deliveries known as small
        statements = [one for one in statements if "under_way" not in one]
    wrong = await unbounded(api.resources, tables, statements)
    assert not wrong, "\n".join(wrong)


def a_callback(resources: Resources, body: bytes, message_id: str) -> RawCallback:
    now = resources.clock()
    return RawCallback("provider", None, signed_headers(body, now, message_id), body, now)


def batch(resources: Resources, name: str, size: int) -> list[Callback]:
    """Callbacks that have arrived together."""
    bodies = [legacy_callback(None, task=f"{name}{number}") for number in range(size)]
    return [
        verify(resources, a_callback(resources, body, f"{name}_{at}"))
        for at, body in enumerate(bodies)
    ]


async def test_a_batch_reads_no_whole_table_even_if_planned_when_all_were_empty(
    resources: Resources,
) -> None:
    with executed_statements() as statements:
        await ingest.ingest(resources, batch(resources, "1", 3))
    wrong = await unbounded(resources, EMPTIED, statements)
    assert not wrong, "\n".join(wrong)


async def test_a_batch_takes_as_many_statements_as_one_callback(
    api: Api, subscriber: WebhookReceiver
) -> None:
    """Each of them moves a subject, which somebody is told of."""
    await api.subscribe(subscriber.url)
    counts = []
    for size in (3, 1, 2, 20):  # the first finds out on its new connection what types there are
        ids = [(await api.create())["id"] for _ in range(size)]
        callbacks = [
            verify(
                api.resources,
                a_callback(api.resources, legacy_callback(subject_id, task=subject_id), subject_id),
            )
            for subject_id in ids
        ]
        with executed_statements() as statements:
            results = await ingest.ingest(api.resources, callbacks)
        assert {result.verdict for result in results} == {"applied"}
        counts.append(len(statements))
    assert counts[1:] == [2, 2, 2]
