"""An event that is written while an earlier one's delivery is recorded is not left behind."""

import asyncio

import asyncpg

from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.domain.work import Work
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.database import wait_until_blocked
from tests.support.webhook_receiver import WebhookReceiver

GATE = 4711  # an advisory lock that recording waits for, by a trigger of this test's

TRIGGER = f"""
    CREATE FUNCTION wait_for_gate() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END';
    CREATE TRIGGER gate BEFORE INSERT ON attempts
        FOR EACH ROW EXECUTE FUNCTION wait_for_gate();
"""


async def test_an_event_written_while_the_one_before_is_recorded_is_delivered(
    api: Api, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    subject = await api.create()
    gate = await asyncpg.connect(api.resources.settings.database_url)
    try:
        await gate.execute(TRIGGER)
        await gate.fetchval("SELECT pg_advisory_lock($1)", GATE)
        delivering = asyncio.create_task(api.work(Work.DELIVER))
        await wait_until_blocked(api.resources)
        update = StatusUpdate(Signal.PROCESSING, provider_task_id="1")
        moving = asyncio.create_task(transition(api.resources, subject["id"], update))
        both = asyncio.create_task(wait_until_blocked(api.resources, 2))
        await asyncio.wait([moving, both], return_when=asyncio.FIRST_COMPLETED)
        both.cancel()
        await gate.fetchval("SELECT pg_advisory_unlock($1)", GATE)
        await asyncio.gather(delivering, moving)
    finally:
        await gate.close()
    assert await api.violations() == []
    await api.work(Work.DELIVER)
    assert len(subscriber.requests) == 2
