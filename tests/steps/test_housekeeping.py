"""Old things are forgotten, batch by batch; what is still of use is kept."""

from service.steps import housekeeping
from service.steps.housekeeping import BATCH
from tests.calling import fetch
from tests.conftest import Api, Clock
from tests.make import a_request

DAY = 24 * 3600
CALLBACKS = """
    INSERT INTO callbacks (id, source, dedup_key, body, headers, verdict, received_at)
    SELECT 'cbk_' || n, 'provider', n, '', '{}', 'unknown', $2 FROM generate_series(1, $1) n
"""


async def test_raw_callbacks_are_kept_for_the_retention_time(api: Api, clock: Clock) -> None:
    await fetch(api.resources, CALLBACKS, BATCH + 1, clock())
    clock.pass_by(api.resources.settings.retention_days * DAY)
    await housekeeping.prune(api.resources)
    assert len(await fetch(api.resources, "SELECT id FROM callbacks")) == BATCH + 1
    clock.pass_by(1)
    await housekeeping.prune(api.resources)
    assert await fetch(api.resources, "SELECT id FROM callbacks") == []


async def test_idempotency_keys_are_kept_for_a_day(api: Api, clock: Clock) -> None:
    headers = {"idempotency-key": "key"}
    await api.http.post("/v1/subjects", json=a_request(), headers=headers)
    clock.pass_by(DAY - 1)
    await housekeeping.prune(api.resources)
    assert len(await fetch(api.resources, "SELECT key FROM idempotency_keys")) == 1
    clock.pass_by(1)
    await housekeeping.prune(api.resources)
    assert await fetch(api.resources, "SELECT key FROM idempotency_keys") == []
