"""What a snapshot shows as metrics: ages as of now, zeros included, and nothing that is stale."""

from datetime import datetime, timedelta
from math import inf

import asyncpg

from service.operations.domain.hold import HoldTarget
from service.operations.domain.snapshot import SubscriberCondition
from service.operations.domain.stages import Stage
from service.operations.steps import snapshot
from service.operations.steps.snapshot_metrics import families
from service.retention.domain.retention import kept_for
from service.schema import metadata
from service.submission.domain.parallel_limit import ParallelLimit
from service.submission.steps import submit
from service.submission.store import provider_state
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import CLOSED_PORT

HEALTH = """
    INSERT INTO subscriber_health (subscriber_id, failures, failing_since, circuit_open_until,
        current_rate)
    SELECT $1, $2::int, CASE WHEN $2 > 0 THEN now() END,
        CASE WHEN $3::bool THEN now() END, CASE WHEN $4::bool THEN 1.0 END
    ON CONFLICT (subscriber_id) DO UPDATE SET failures = excluded.failures,
        failing_since = excluded.failing_since, current_rate = excluded.current_rate,
        circuit_open_until = excluded.circuit_open_until
"""
HOLD = """
    INSERT INTO holds (id, what, reason, until, created_at)
    VALUES ($1, 'submissions', 'test', $2, now())
"""
OTHER_STARTED = "UPDATE snapshot SET started_at = $1"  # another process is about to take one
FOUND = "UPDATE snapshot SET audit = $1, audited_at = $2"

Series = dict[tuple[str, str], float]  # by name and the value of the one label, or nothing


async def shown(api: Api) -> Series:
    """The series of the newest snapshot."""
    found = await snapshot.current(api.resources)
    return {
        (sample.name.removeprefix("callsheet_"), "".join(sample.labels.values())): sample.value
        for family in families(found, api.resources.clock())
        for sample in family.samples
    }


async def test_with_nothing_waiting_all_series_are_there_and_say_zero(api: Api) -> None:
    found = await shown(api)
    expected = [
        *((name, stage) for name in ("oldest_age_seconds", "items") for stage in Stage),
        *(("subscribers", state) for state in SubscriberCondition),
        *(("holds", what) for what in HoldTarget),
        ("provider_slots_used", ""),
        ("submission_stopped", ""),
        ("database_oldest_transaction_seconds", ""),
        ("snapshot_age_seconds", ""),
    ]
    assert {key: found[key] for key in expected} == dict.fromkeys(expected, 0)
    limits = {("provider_slots_limit", ""), ("provider_slots_learnt", "")}
    tables = {("table_bytes", name) for name in metadata.tables}
    kept = {("retention_seconds", kind) for kind in kept_for(api.resources.settings)}
    assert set(found) == {*expected, *limits, *tables, *kept}
    assert all(found[key] > 0 for key in limits | tables | kept)


async def test_ages_go_on_between_snapshots(api: Api, clock: Clock) -> None:
    await api.create()
    clock.advance(5)
    assert (await shown(api))["oldest_age_seconds", Stage.QUEUED] == 5
    clock.advance(7)
    found = await shown(api)
    assert found["oldest_age_seconds", Stage.QUEUED] == 12
    assert found["snapshot_age_seconds", ""] == 7
    assert found["items", Stage.QUEUED] == 1


async def test_a_stale_snapshot_leaves_its_series_out_and_its_age_tells(
    api: Api, clock: Clock
) -> None:
    await shown(api)
    clock.advance(60)
    await fetch(api.resources, OTHER_STARTED, clock())
    assert ("items", Stage.QUEUED) in await shown(api)
    clock.advance(1)
    assert await shown(api) == {("snapshot_age_seconds", ""): 61}


def test_without_a_snapshot_its_age_has_no_bound() -> None:
    now = datetime.fromisoformat("2026-11-22T12:00:00Z")
    (family,) = families(None, now)
    assert [sample.value for sample in family.samples] == [inf]


async def test_each_help_says_that_it_is_the_same_from_every_process(api: Api) -> None:
    found = await snapshot.current(api.resources)
    helps = [family.documentation for family in families(found, api.resources.clock())]
    assert len(helps) > 10
    assert all(text.endswith("The same from every process: use max.") for text in helps)


async def test_each_subscriber_is_in_the_first_state_that_holds(api: Api) -> None:
    ids = [(await api.subscribe(CLOSED_PORT))["id"] for _ in range(9)]
    await api.create(callback_url=CLOSED_PORT)  # a hidden one
    for id_ in ids[:2]:
        await fetch(api.resources, "UPDATE subscribers SET state = 'disabled' WHERE id = $1", id_)
    (await api.http.patch(f"/v1/subscribers/{ids[2]}", json={"state": "paused"})).raise_for_status()
    for id_, *health in (
        (ids[0], 12, True, True),
        (ids[2], 12, True, True),
        (ids[3], 12, True, True),
        (ids[4], 12, True, False),
        (ids[5], 3, False, True),
        (ids[6], 0, False, True),
        (ids[7], 0, False, False),
    ):
        await fetch(api.resources, HEALTH, id_, *health)
    found = await shown(api)
    assert {state: found["subscribers", state] for state in SubscriberCondition} == {
        SubscriberCondition.DISABLED: 2,
        SubscriberCondition.PAUSED: 1,
        SubscriberCondition.CIRCUIT_OPEN: 2,
        SubscriberCondition.FAILING: 1,
        SubscriberCondition.SLOWED: 1,
        SubscriberCondition.HEALTHY: 2,
    }


async def test_slots_used_configured_and_learnt_are_told(api: Api, clock: Clock) -> None:
    for _ in range(3):
        await api.create()
    await submit.claim(api.resources, 2)
    async with api.resources.database.transaction() as tx:
        await provider_state.save_limit(tx, ParallelLimit(4, clock()))
    found = await shown(api)
    assert found["provider_slots_used", ""] == 2
    assert found["provider_slots_limit", ""] == api.resources.settings.provider_parallel
    assert found["provider_slots_learnt", ""] == 4


async def test_stopped_submission_is_told_with_its_code(api: Api, clock: Clock) -> None:
    async with api.resources.database.transaction() as tx:
        await provider_state.stop(tx, 1102, "pack used up", clock())
    found = await shown(api)
    assert found["submission_stopped", ""] == 1
    assert found["submission_stopped_info", "1102"] == 1


async def test_holds_in_force_are_counted(api: Api, clock: Clock) -> None:
    for id_, until in (("hld_1", None), ("hld_2", 10), ("hld_3", -10)):
        moment = None if until is None else clock() + timedelta(seconds=until)
        await fetch(api.resources, HOLD, id_, moment)
    found = await shown(api)
    assert {what: found["holds", what] for what in HoldTarget} == {
        HoldTarget.INTAKE: 0,
        HoldTarget.SUBMISSIONS: 2,
        HoldTarget.DELIVERIES: 0,
    }


async def test_the_oldest_transaction_of_this_database_is_told(api: Api, clock: Clock) -> None:
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            began = await connection.fetchval("SELECT now()")
            clock.now = began + timedelta(seconds=90)
            found = await shown(api)
    finally:
        await connection.close()
    assert found["database_oldest_transaction_seconds", ""] == 90


async def test_what_the_audit_found_is_told(api: Api, clock: Clock) -> None:
    await snapshot.take_if_due(api.resources)
    await fetch(api.resources, FOUND, '{"feed_order": 0, "states_rise": 2}', clock())
    clock.advance(9)
    found = await shown(api)
    assert found["audit_violations", "feed_order"] == 0
    assert found["audit_violations", "states_rise"] == 2
    assert found["audit_age_seconds", ""] == 9
