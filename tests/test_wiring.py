"""Settings become resources: either kind of credential, and one clock in UTC."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, timedelta

import httpx
import pytest
from sqlalchemy import text

from service.delivery.remote.outcomes import Failed
from service.local.simulator import Options, build
from service.resources import Resources
from service.settings import read_settings
from service.subjects.domain.work import Work
from service.wiring import open_resources, utc_now
from tests.conftest import WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.http_server import http_server
from tests.support.raw_servers import TIMEOUT
from tests.support.simulator import FINISH_AT_ONCE, SimulatorClient
from tests.support.stream_publishing import NO_CREDENTIALS, stream_message


@pytest.fixture
async def provider() -> AsyncIterator[SimulatorClient]:
    """A provider that knows a pair of keys."""
    options = Options(
        api_key="another's",
        webhook_secret=WEBHOOK_SECRET,
        access_key="access",
        secret_key="secret",
        settings=FINISH_AT_ONCE,
    )
    async with (
        http_server(build(options)) as address,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as http,
    ):
        yield SimulatorClient(http)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Settings with a pair of keys in place of the one."""
    del environ["CALLSHEET_PROVIDER_API_KEY"]
    return environ | {
        "CALLSHEET_PROVIDER_ACCESS_KEY": "access",
        "CALLSHEET_PROVIDER_SECRET_KEY": "secret",
    }


async def test_a_pair_of_keys_is_as_good_as_one(api: Api) -> None:
    subject = await api.create()
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(subject["id"]))["state"] == "succeeded"


def test_the_clock_says_where_it_is() -> None:
    first, second = utc_now(), utc_now()
    assert first.tzinfo is UTC
    assert timedelta() <= second - first < timedelta(minutes=1)


@pytest.mark.parametrize(("allowed", "reason"), [("true", "port"), ("false", "encrypted")])
async def test_plain_text_leaves_the_allowed_networks_where_the_setting_says_so(
    environ: dict[str, str], allowed: str, reason: str
) -> None:
    """The port is closed: where the address may be called, it is refused for that."""
    environ |= {"CALLSHEET_ALLOW_HTTP": allowed, "CALLSHEET_ALLOWED_PORTS": "443"}
    async with open_resources(read_settings(environ)) as resources:
        attempt = await resources.stream_publisher.publish(
            "nats://93.184.215.14", NO_CREDENTIALS, "events", stream_message(), TIMEOUT
        )
    assert isinstance(attempt, Failed)
    assert reason in attempt.detail


async def test_the_connections_of_a_process_are_as_many_as_the_setting_says(
    environ: dict[str, str],
) -> None:
    pid = text("SELECT pg_backend_pid() FROM pg_sleep(0.01)")

    async def session(resources: Resources) -> int:
        async with resources.database.transaction() as tx:
            return int(await tx.scalar(pid))

    environ["CALLSHEET_DATABASE_POOL"] = "5"
    async with open_resources(read_settings(environ)) as resources:
        sessions = await asyncio.gather(*(session(resources) for _ in range(10)))
    assert len(set(sessions)) == 2, "two for claims and keys, one to listen, the rest for these"
