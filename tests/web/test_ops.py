"""Liveness and readiness: what is usable, and what only waits."""

from dataclasses import replace
from typing import Any

from service.local.ports import free_port
from service.queue import Queue
from service.steps import health
from service.store import provider
from service.store.database import Database
from tests.calling import fetch
from tests.conftest import Api, database

WELL = {"postgres": "ok", "redis": "ok", "provider": "ok"}


async def ready(api: Api, status: int = 200) -> dict[str, Any]:
    answer = await api.http.get("/readyz")
    assert answer.status_code == status
    body: dict[str, Any] = answer.json()
    return body


async def test_all_is_well(api: Api) -> None:
    assert await ready(api) == {"status": "ready", "checks": WELL}
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}


async def test_a_stopped_provider_degrades(api: Api) -> None:
    async with api.resources.database.transaction() as tx:
        await provider.stop(tx, 1102, "pack used up", api.resources.clock())
    found = await ready(api)
    assert found["status"] == "degraded"
    assert found["checks"] == WELL | {
        "provider": "submission is stopped by the provider's code 1102"
    }


async def test_without_its_tables_it_is_not_usable(api: Api) -> None:
    await fetch(api.resources, "DROP TABLE provider_state")
    found = await ready(api, 503)
    assert found["status"] == "unavailable"
    assert "callsheet migrate" in found["checks"]["postgres"]


async def test_without_redis_work_is_swept_up(api: Api) -> None:
    async with Queue(f"redis://127.0.0.1:{free_port()}/0", "q") as away:
        found = await health.look(replace(api.resources, queue=away))
    assert (found.usable, found.status) == (True, "degraded")
    assert found.checks == WELL | {"redis": "cannot be reached: work is swept up"}


async def test_a_postgres_that_lets_nobody_in_is_not_usable(api: Api) -> None:
    url = api.resources.settings.database_url
    for wrong in (database(url, "no_such"), url.replace("callsheet:", "callsheet:wrong")):
        away = Database(wrong)
        found = await health.look(replace(api.resources, database=away))
        assert (found.usable, found.status) == (False, "unavailable")
        assert found.checks["postgres"] == "cannot be reached"
        await away.close()
