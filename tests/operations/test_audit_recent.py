"""The workers' audit: whose turn it is, what it looks at, and what it says of what it found."""

import asyncio

import orjson
from structlog.typing import EventDict

from service.operations.domain.audit_checks import AuditCheck
from service.operations.steps import audit_recent
from service.operations.steps.audit_recent import INTERVAL, MAX_LOGGED, OVERLAP
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch

BREAK = "UPDATE subjects SET version = version + 1"
MEND = "UPDATE subjects SET version = version - 1"
NONE = dict.fromkeys(AuditCheck, 0)


async def audited(api: Api, clock: Clock) -> dict[str, int]:
    """The counts by check that the next audit writes, when it is due."""
    clock.advance(INTERVAL.total_seconds())
    await audit_recent.run_if_due(api.resources)
    (row,) = await fetch(api.resources, "SELECT audit, audited_at FROM snapshot")
    assert row["audited_at"] == clock.now
    counts: dict[str, int] = orjson.loads(row["audit"])
    return counts


def logged_violations(logged: list[EventDict]) -> list[tuple[str, str]]:
    return [
        (line["check"], line["about"]) for line in logged if line.get("action") == "audit_violation"
    ]


async def test_where_all_is_well_each_check_is_written_as_zero(api: Api, clock: Clock) -> None:
    await api.create()
    assert await audited(api, clock) == NONE


async def test_what_changed_lately_is_looked_at_and_logged_once(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    subject = await api.create()
    await fetch(api.resources, BREAK)
    broken = NONE | {AuditCheck.EVENT_FOR_EACH_VERSION: 1}
    assert await audited(api, clock) == broken
    found = [(AuditCheck.EVENT_FOR_EACH_VERSION, subject["id"])]
    assert logged_violations(logged) == found
    clock.advance(10 * OVERLAP.total_seconds())
    assert await audited(api, clock) == broken, "it counts until it is mended"
    assert await audited(api, clock) == broken
    assert logged_violations(logged) == found, "and is logged once"
    await fetch(api.resources, MEND)
    assert await audited(api, clock) == NONE


async def test_what_has_not_changed_since_the_audit_before_is_not_looked_at(
    api: Api, clock: Clock
) -> None:
    subject = await api.create()
    assert await audited(api, clock) == NONE
    clock.advance(10 * OVERLAP.total_seconds())
    assert await audited(api, clock) == NONE
    await fetch(api.resources, BREAK)
    clock.advance(10 * OVERLAP.total_seconds())
    assert await audited(api, clock) == NONE
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id="1")
    await transition(api.resources, subject["id"], update)
    assert await audited(api, clock) == NONE | {AuditCheck.EVENT_FOR_EACH_VERSION: 1}


async def test_one_of_all_workers_audits_in_each_interval(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    await api.create()
    await fetch(api.resources, BREAK)
    clock.advance(INTERVAL.total_seconds())
    await asyncio.gather(*(audit_recent.run_if_due(api.resources) for _ in range(8)))
    assert len(logged_violations(logged)) == 1
    (before,) = await fetch(api.resources, "SELECT audited_at FROM snapshot")
    clock.advance(INTERVAL.total_seconds() - 1)
    await audit_recent.run_if_due(api.resources)
    assert await fetch(api.resources, "SELECT audited_at FROM snapshot") == [before]


async def test_a_start_by_a_clock_that_was_ahead_delays_none(api: Api, clock: Clock) -> None:
    await fetch(api.resources, "UPDATE snapshot SET audit_started_at = '3000-01-01Z'")
    assert await audited(api, clock) == NONE


async def test_of_many_violations_a_few_are_logged_and_all_are_counted(
    api: Api, clock: Clock, logged: list[EventDict]
) -> None:
    for number in range(MAX_LOGGED + 2):
        await api.create(name=f"{number}")
    await fetch(api.resources, BREAK)
    counts = await audited(api, clock)
    assert counts == NONE | {AuditCheck.EVENT_FOR_EACH_VERSION: MAX_LOGGED + 2}
    assert len(logged_violations(logged)) == MAX_LOGGED
    assert {line["more"] for line in logged if line.get("action") == "audit_violation"} == {2}


async def test_a_name_that_another_release_wrote_is_left_aside(api: Api, clock: Clock) -> None:
    await fetch(api.resources, """UPDATE snapshot SET audit_findings = '{"of_old": ["sub_1"]}'""")
    assert await audited(api, clock) == NONE
