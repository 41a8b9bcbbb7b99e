"""Old things are forgotten, batch by batch; what is still of use is kept."""

import asyncio
import json
from dataclasses import replace

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor, ActorKind
from service.accounts.steps import action_log
from service.reconciliation.steps import learn_durations
from service.reconciliation.steps.learn_durations import LOOK_BACK, SAMPLES
from service.reconciliation.store import typical_durations
from service.resources import Resources
from service.retention.steps import prune
from service.retention.steps.prune import BATCH
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.request_bodies import request_body

DAY = 24 * 3600
CALLBACKS = """
    INSERT INTO callbacks (id, source, dedup_key, body, size, headers, verdict, verification,
        received_at)
    SELECT overlay($3 placing lpad(n::text, 6, '0') from 25), 'provider', n, '', 0, '{}',
        'unknown', 'signed', $2
    FROM generate_series(1, $1) n
"""
ENDED = """
    WITH ended AS (
        INSERT INTO subjects SELECT (
            jsonb_populate_record(s, jsonb_build_object(
                'id', concat('sub_', $1::text, extract(epoch FROM $2::timestamptz), '_', n),
                'document', s.document || jsonb_build_object('reference_type', $1::text),
                'state', 'succeeded', 'finished_at', $2::timestamptz + n * '1 s'::interval,
                'result', jsonb_build_object(
                    'provider_created_at', '2026-01-02T03:04:05.678Z', 'provider_updated_at',
                    to_char(
                        '2026-01-02 03:04:05.678'::timestamp + $4 * '1 s'::interval,
                        'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                    )
                )
            ))
        ).* FROM subjects s, generate_series(1, $3::int) n WHERE s.state = 'queued'
        RETURNING id, account_id, finished_at
    )
    INSERT INTO events (id, subject_id, account_id, sequence, type, body, created_at)
    SELECT 'evt_' || id, id, account_id, 4, 'subject.succeeded', '', finished_at FROM ended
"""


async def test_raw_callbacks_are_kept_for_the_retention_time(api: Api, clock: Clock) -> None:
    await fetch(api.resources, CALLBACKS, BATCH + 1, clock(), api.resources.new_id("cbk"))
    clock.advance(api.resources.settings.retention_callbacks_days * DAY)
    await prune.prune(api.resources)
    assert len(await fetch(api.resources, "SELECT id FROM callbacks")) == BATCH + 1
    clock.advance(1)
    await prune.prune(api.resources)
    assert await fetch(api.resources, "SELECT id FROM callbacks") == []


async def test_idempotency_keys_are_kept_for_a_day(api: Api, clock: Clock) -> None:
    headers = {"idempotency-key": "key"}
    await api.http.post("/v1/subjects", json=request_body(), headers=headers)
    clock.advance(DAY - 1)
    await prune.prune(api.resources)
    assert len(await fetch(api.resources, "SELECT key FROM idempotency_keys")) == 1
    clock.advance(1)
    await prune.prune(api.resources)
    assert await fetch(api.resources, "SELECT key FROM idempotency_keys") == []


async def outdated(api: Api) -> int:
    """Keys that are to be forgotten: of one more request, and of those before."""
    count = len(await fetch(api.resources, "SELECT key FROM idempotency_keys"))
    headers = {"idempotency-key": f"{count}"}
    await api.http.post("/v1/subjects", json=request_body(), headers=headers)
    await fetch(api.resources, "UPDATE idempotency_keys SET created_at = '2020-01-01Z'")
    return count + 1


async def test_of_all_workers_one_keeps_house_once_a_minute(api: Api, clock: Clock) -> None:
    async def keep_house() -> int:
        """How many keys are left once all have swept."""
        await asyncio.gather(*(prune.run_if_due(api.resources) for _ in range(4)))
        return len(await fetch(api.resources, "SELECT key FROM idempotency_keys"))

    assert await outdated(api) == 1
    assert await keep_house() == 0
    clock.advance(59.9)
    assert await outdated(api) == 1
    assert await keep_house() == 1, "within the minute"
    clock.advance(0.1)
    assert await keep_house() == 0


async def test_a_clock_that_was_ahead_puts_no_pruning_off(api: Api, clock: Clock) -> None:
    clock.advance(DAY)
    await prune.run_if_due(api.resources)
    clock.advance(-DAY)
    assert await outdated(api) == 1
    await prune.run_if_due(api.resources)
    assert await fetch(api.resources, "SELECT key FROM idempotency_keys") == []


async def learnt(api: Api) -> dict[str, float] | None:
    await learn_durations.learn(api.resources)
    (row,) = await fetch(api.resources, "SELECT typical_durations FROM provider_state")
    return None if row["typical_durations"] is None else json.loads(row["typical_durations"])


async def test_durations_are_learnt_from_the_newest_successes_of_each_type(
    api: Api, clock: Clock
) -> None:
    await api.create()
    assert await learnt(api) is None
    await fetch(api.resources, ENDED, "image_refer", clock(), 19, 4.0)
    assert await learnt(api) is None, "too few to believe"
    await fetch(api.resources, ENDED, "video_refer", clock(), 20, 16.0)
    assert await learnt(api) == {"video_refer": 20}
    clock.advance(DAY)
    await fetch(api.resources, ENDED, "image_refer", clock(), SAMPLES, 8.0)
    assert await learnt(api) == {"image_refer": 10, "video_refer": 20}


async def test_what_is_rare_among_the_newest_keeps_what_was_learnt(api: Api, clock: Clock) -> None:
    await api.create()
    await fetch(api.resources, ENDED, "video_refer", clock(), 20, 16.0)
    assert await learnt(api) == {"video_refer": 20}
    clock.advance(DAY)
    await fetch(api.resources, ENDED, "image_refer", clock(), LOOK_BACK, 4.0)
    assert await learnt(api) == {"image_refer": 5, "video_refer": 20}


async def test_a_real_subject_bears_the_times_that_are_learnt_from(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await api.work()
    made = (await api.wait_until_finished(subject_id))["subject"]
    assert made["provider_created_at"] <= made["provider_updated_at"]
    async with api.resources.database.transaction() as tx:
        found = await typical_durations.recent_durations(tx, LOOK_BACK, SAMPLES)
    assert {kind: len(seconds) for kind, seconds in found.items()} == {"image_refer": 1}


async def test_actions_are_kept_for_the_retention_time_or_for_ever(
    resources: Resources, clock: Clock
) -> None:
    actor, action = Actor(ActorKind.COMMAND, "root", "host"), Action(ActionKind.HELD, "hld_1")
    await action_log.record_alone(resources, actor, action)
    clock.advance(resources.settings.retention_actions_days * DAY)
    await prune.prune(resources)
    clock.advance(1)
    for_ever = replace(resources.settings, retention_actions_days=0)
    await prune.prune(replace(resources, settings=for_ever))
    assert len(await fetch(resources, "SELECT id FROM actions")) == 1
    await prune.prune(resources)
    assert await fetch(resources, "SELECT id FROM actions") == []
