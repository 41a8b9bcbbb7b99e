"""Polling keeps to its rate, leaves nobody behind, and adapts to what it learnt."""

import asyncio
from dataclasses import replace

import pytest

from service.reconciliation.cache.typical_durations import DEFAULT_DURATIONS
from service.reconciliation.steps import poll
from service.reconciliation.store import polls
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from service.wiring import utc_now
from service.worker import POLL_CONCURRENCY, make_work_loops
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.media_host import media_host
from tests.support.simulator import SimulatorClient
from tests.support.waiting import wait_until

RATE = 100  # look-ups a second
MANY = 1000
COPY_SUBJECTS = """
    INSERT INTO subjects SELECT (
        jsonb_populate_record(s, jsonb_build_object('id', 'sub_' || lpad(n::text, 26, '0')))
    ).* FROM subjects s, generate_series(2, $1::int) n
"""
COPY_EVENTS = """
    INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
    SELECT 'evt_' || s.id, s.id, e.account_id, sequence, type, body, e.created_at
    FROM events e, subjects s WHERE s.id <> e.subject_id
"""


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Places for everybody."""
    return environ | {
        "CALLSHEET_POLLS_PER_SECOND": str(RATE),
        "CALLSHEET_PROVIDER_PARALLEL": str(MANY),
    }


async def create_queued(api: Api, count: int) -> None:
    """So many queued subjects, whose media were checked: copies of one, for speed."""
    async with media_host() as media:
        await api.create(**media.images("front", "side"))
        await api.work(Work.CHECK_MEDIA)
    await fetch(api.resources, COPY_SUBJECTS, count)
    await fetch(api.resources, COPY_EVENTS)


async def create_submitted(
    api: Api, provider: SimulatorClient, count: int, **fault: object
) -> None:
    """So many submitted subjects whose callbacks are lost."""
    await provider.admin("settings", {"fetch_media": False})
    await provider.admin("faults", {"lose": True, "times": None} | fault)
    await create_queued(api, count)
    await api.work(Work.SUBMIT)
    assert await state_counts(api) == {"submitted": count}


async def state_counts(api: Api) -> dict[str, int]:
    rows = await fetch(api.resources, "SELECT state, count(*) FROM subjects GROUP BY state")
    return {row["state"]: row["count"] for row in rows}


async def simulator_counts(provider: SimulatorClient) -> dict[str, int]:
    counts: dict[str, int] = (await provider.ledger("nobody's"))["counts"]
    return counts


async def no_task_runs(provider: SimulatorClient) -> bool:
    return (await simulator_counts(provider))["running"] == 0


async def claim_polls(api: Api, limit: int) -> list[str]:
    return [subject.id for subject in await poll.claim(api.resources, limit)]


async def test_with_callbacks_wholly_absent_a_thousand_subjects_all_end(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await create_submitted(api, provider, MANY)
    await wait_until(lambda: no_task_runs(provider))
    clock.advance(DEFAULT_DURATIONS["image_refer"] - 1)
    polls_per_second = []
    while "submitted" in await state_counts(api):
        clock.advance(1)
        before = (await simulator_counts(provider)).get("lookups_found", 0)
        await api.work(Work.RECONCILE)
        polls_per_second.append((await simulator_counts(provider))["lookups_found"] - before)
        assert polls_per_second[-1] <= RATE
    assert await state_counts(api) == {"succeeded": MANY}
    assert polls_per_second == [RATE] * (MANY // RATE)
    assert (await simulator_counts(provider)).get("callbacks_answered", 0) == 0
    assert await api.violations() == []


async def test_a_backlog_is_worked_off_at_the_rate_without_a_sweep(
    api: Api, provider: SimulatorClient
) -> None:
    await create_submitted(api, provider, 3 * POLL_CONCURRENCY)
    settings = replace(api.resources.settings, polls_per_second=POLL_CONCURRENCY)
    resources = replace(api.resources, settings=settings, clock=utc_now)
    await fetch(resources, "UPDATE subjects SET next_poll_at = now() - interval '1 minute'")
    loop = make_work_loops(resources)[Work.RECONCILE]
    running = asyncio.create_task(loop.run(interval=3600))

    async def all_ended() -> bool:
        return "submitted" not in await state_counts(api)

    await wait_until(all_ended)
    loop.stop()
    await running


async def test_workers_share_the_rate_and_the_longest_overdue_are_polled_first(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await create_submitted(api, provider, RATE + 20)
    overdue = (
        "UPDATE subjects SET next_poll_at = $1::timestamptz - right(id, 4)::int * '1 s'::interval"
    )
    await fetch(api.resources, overdue + " WHERE id LIKE 'sub_0000%'", clock())
    batches = await asyncio.gather(*(claim_polls(api, RATE) for _ in range(4)))
    assert sorted(id_ for batch in batches for id_ in batch) == [
        f"sub_{number:026}" for number in range(21, RATE + 21)
    ]
    assert await claim_polls(api, 1) == []
    clock.advance(0.1)
    assert len(await claim_polls(api, RATE)) == RATE // 10


async def test_hints_about_one_subject_cost_one_poll_and_do_not_push_others_back(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await create_submitted(api, provider, 2)
    first, second = [row["id"] for row in await fetch(api.resources, "SELECT id FROM subjects")]

    async def hint(subject_id: str) -> None:
        clock.advance(0.01)
        async with api.resources.database.transaction() as tx:
            await polls.schedule(tx, [subject_id], clock())

    await hint(first)
    for _ in range(3):
        await hint(second)
        await hint(first)
    assert await claim_polls(api, 1) == [first]
    assert await claim_polls(api, RATE) == [second]
    assert await claim_polls(api, RATE) == []


async def test_a_subject_that_was_called_back_about_is_not_polled(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await create_submitted(api, provider, 3)
    ended, moved, silent = sorted(
        row["id"] for row in await fetch(api.resources, "SELECT id FROM subjects")
    )
    clock.advance(DEFAULT_DURATIONS["image_refer"])
    result = {"element_id": "1"}
    await transition(api.resources, ended, StatusUpdate(Signal.SUCCEEDED, result=result))
    await transition(api.resources, moved, StatusUpdate(Signal.PROCESSING))
    assert await claim_polls(api, RATE) == [silent]


async def test_nothing_is_written_when_no_poll_is_due(api: Api, provider: SimulatorClient) -> None:
    await create_submitted(api, provider, 1)
    before = await fetch(
        api.resources, "SELECT xmin::text, poll_rate_used_until FROM provider_state"
    )
    assert await claim_polls(api, RATE) == []
    after = await fetch(
        api.resources, "SELECT xmin::text, poll_rate_used_until FROM provider_state"
    )
    assert before == after


async def first_poll_delay(api: Api, clock: Clock) -> float:
    """Seconds until the one subject that is sent now would be asked for."""
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    found = "SELECT next_poll_at FROM subjects WHERE id = $1"
    (row,) = await fetch(api.resources, found, subject_id)
    seconds: float = (row["next_poll_at"] - clock()).total_seconds()
    return seconds


async def test_learnt_durations_are_taken_over_when_subjects_are_claimed(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("settings", {"fetch_media": False})
    await provider.admin("faults", {"lose": True, "times": None})
    assert await first_poll_delay(api, clock) == DEFAULT_DURATIONS["image_refer"]
    await fetch(
        api.resources, """UPDATE provider_state SET typical_durations = '{"image_refer": 42.5}'"""
    )
    assert await first_poll_delay(api, clock) == 42.5
    assert (
        api.resources.typical_durations.typical("video_refer") == DEFAULT_DURATIONS["video_refer"]
    )
    await fetch(api.resources, "UPDATE provider_state SET typical_durations = NULL")
    assert await first_poll_delay(api, clock) == DEFAULT_DURATIONS["image_refer"]


async def test_the_setting_wins_over_a_learnt_duration(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("settings", {"fetch_media": False})
    await provider.admin("faults", {"lose": True, "times": None})
    await fetch(
        api.resources, """UPDATE provider_state SET typical_durations = '{"image_refer": 42.5}'"""
    )
    settings = replace(api.resources.settings, poll_after=2.0)
    configured = replace(api, resources=replace(api.resources, settings=settings))
    assert await first_poll_delay(configured, clock) == 2
