"""Liveness and readiness: what is usable, and what only waits."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.typing import EventDict

from service.kit.database.database import Database
from service.local.ports import free_port
from service.operations.steps import readiness
from service.submission.store import provider_state
from tests.conftest import database, execute
from tests.kit.test_database import TERMINATE
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.database_access import READ_ONLY, WRITABLE
from tests.support.deliveries import CLOSED_PORT
from tests.support.holds import hold
from tests.support.request_bodies import request_body
from tests.support.waiting import wait_until

KILL = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'"
WELL = {
    "postgres": "ok",
    "redis": "ok",
    "provider": "ok",
    "holds": "ok",
    "installation": "ok",
}


async def ready(api: Api, status: int = 200) -> dict[str, Any]:
    answer = await api.http.get("/readyz")
    assert answer.status_code == status
    body: dict[str, Any] = answer.json()
    return body


def database_name(api: Api) -> str:
    return api.resources.settings.database_url.rpartition("/")[2]


async def test_all_is_well(api: Api) -> None:
    assert await ready(api) == {"status": "ready", "checks": WELL}
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}


async def test_a_stopped_provider_degrades(api: Api) -> None:
    async with api.resources.database.transaction() as tx:
        await provider_state.stop(tx, 1102, "pack used up", api.resources.clock())
    found = await ready(api)
    assert found["status"] == "degraded"
    assert found["checks"] == WELL | {
        "provider": "submission is stopped by the provider's code 1102"
    }


async def test_what_is_held_for_all_degrades_and_what_is_for_one_account_does_not(
    api: Api, clock: Clock
) -> None:
    """Everybody may ask: neither reasons nor accounts are told."""
    await hold(api.resources, "deliveries", account="acme")
    assert await ready(api) == {"status": "ready", "checks": WELL}
    await hold(api.resources, "submissions", until="2100-01-01T00:00:00Z", reason="our secret")
    clock.advance(1)
    await hold(api.resources, "intake")
    assert await ready(api) == {
        "status": "degraded",
        "checks": WELL
        | {"holds": "held: submissions until 2100-01-01T00:00:00.000Z, intake until released"},
    }


async def test_without_its_tables_it_is_not_usable(api: Api) -> None:
    await fetch(api.resources, "DROP TABLE provider_state")
    found = await ready(api, 503)
    assert found["status"] == "unavailable"
    assert "callsheet migrate" in found["checks"]["postgres"]


async def test_what_readiness_writes_is_gone_again(api: Api) -> None:
    before = await fetch(api.resources, "SELECT id FROM accounts")
    await ready(api)
    assert await fetch(api.resources, "SELECT id FROM accounts") == before


async def test_as_long_as_nothing_can_be_written_it_is_not_usable(api: Api) -> None:
    """A failover: sessions that are opened meanwhile would stay as they are opened."""
    name, outside = database_name(api), database(api.resources.settings.database_url, "postgres")
    await execute(outside, READ_ONLY.format(name))
    await fetch(api.resources, TERMINATE)
    for _ in range(2):
        found = await ready(api, 503)
        assert found["checks"]["postgres"] == "cannot be written to"
        refused = await asyncio.gather(
            *(api.http.post("/v1/subjects", json=request_body()) for _ in range(5))
        )
        assert {answer.status_code for answer in refused} == {503}
    await execute(outside, WRITABLE.format(name))
    assert await ready(api) == {"status": "ready", "checks": WELL}

    async def are_accepted() -> bool:
        answer = await api.http.post("/v1/subjects", json=request_body())
        assert answer.status_code in {202, 503}
        return answer.status_code == 202

    for _ in range(5):
        await wait_until(are_accepted)
    await api.work()


async def test_a_database_that_is_closed_is_not_usable_until_it_is_opened(
    api: Api, logged: list[EventDict]
) -> None:
    name, outside = database_name(api), database(api.resources.settings.database_url, "postgres")
    await ready(api)
    await execute(outside, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await execute(outside, KILL.format(name))
    found = await ready(api, 503)
    assert found["checks"]["postgres"] == "cannot be reached"
    await execute(outside, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert await ready(api) == {"status": "ready", "checks": WELL}
    assert not [line for line in logged if "exception" in line]


@pytest.mark.parametrize("table", ["accounts", "provider_state", "holds"])
async def test_missing_tables_are_named_as_such_and_are_no_fault(
    api: Api, logged: list[EventDict], table: str
) -> None:
    await fetch(api.resources, f"ALTER TABLE {table} RENAME TO elsewhere")
    found = await ready(api, 503)
    assert found["checks"]["postgres"] == "The tables are missing: run `callsheet migrate`."
    assert not [line for line in logged if "exception" in line]


async def test_tables_of_another_release_are_not_usable(api: Api, logged: list[EventDict]) -> None:
    await fetch(api.resources, "ALTER TABLE provider_state DROP COLUMN poll_rate_used_until")
    await fetch(api.resources, "ALTER TABLE provider_state DROP COLUMN typical_durations")
    found = await ready(api, 503)
    assert "callsheet migrate" in found["checks"]["postgres"]
    (fault,) = [line for line in logged if line.get("action") == "fault"]
    logged.remove(fault)


async def found_with(api: Api, redis_url: str | None) -> readiness.Health:
    settings = replace(api.resources.settings, redis_url=redis_url)
    return await readiness.check_readiness(replace(api.resources, settings=settings))


async def test_while_redis_is_away_only_jobs_wait(api: Api) -> None:
    found = await found_with(api, f"redis://127.0.0.1:{free_port()}/0")
    assert (found.usable, found.status) == (True, "degraded")
    assert found.checks == WELL | {"redis": "cannot be reached: jobs are not taken"}


async def test_a_redis_that_is_not_configured_is_missed_by_nobody(api: Api) -> None:
    found = await found_with(api, None)
    assert (found.usable, found.status) == (True, "ready")
    assert found.checks == WELL | {"redis": "not configured"}


async def test_a_postgres_that_lets_nobody_in_is_not_usable(api: Api) -> None:
    url = api.resources.settings.database_url
    for wrong in (database(url, "no_such"), url.replace("callsheet:", "callsheet:wrong")):
        away = Database(wrong)
        found = await readiness.check_readiness(replace(api.resources, database=away))
        assert (found.usable, found.status) == (False, "unavailable")
        assert found.checks["postgres"] == "cannot be reached"
        await away.close()


async def test_probes_that_overlap_all_read_what_was_found(api: Api) -> None:
    """Whoever is told first asks again at once: that must not take the result from the others."""
    bounded = readiness.BoundedReadiness(api.resources)

    async def ask() -> list[str]:
        return [(await bounded.check(10)).status for _ in range(3)]

    assert [*await asyncio.gather(ask(), ask(), ask())] == [["ready"] * 3] * 3
    await bounded.close()


async def test_a_held_copy_is_ready_and_says_why_and_tests_no_subscriber(api: Api) -> None:
    await fetch(api.resources, "UPDATE installation SET public_url = 'https://home.example'")
    found = await ready(api)
    assert found["status"] == "held"
    assert "that of https://home.example, and PUBLIC_URL is" in found["checks"]["installation"]
    made = await api.subscribe(CLOSED_PORT)
    answer = await api.http.post(f"/v1/subscribers/{made['id']}/test")
    assert (answer.status_code, answer.json()["code"]) == (409, "installation_held")
