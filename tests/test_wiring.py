"""Settings become resources: either kind of credential, and one clock in UTC."""

from collections.abc import AsyncIterator
from datetime import UTC, timedelta

import httpx
import pytest

from service.local.simulator import Options, build
from service.queue import Work
from service.wiring import utc_now
from tests.conftest import WEBHOOK_SECRET, Api
from tests.local.simulating import AT_ONCE, Remote, served


@pytest.fixture
async def provider() -> AsyncIterator[Remote]:
    """A provider that knows a pair of keys."""
    options = Options(
        api_key="another's",
        webhook_secret=WEBHOOK_SECRET,
        access_key="access",
        secret_key="secret",
        settings=AT_ONCE,
    )
    async with (
        served(build(options)) as address,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as http,
    ):
        yield Remote(http)


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
    assert (await api.ended(subject["id"]))["state"] == "succeeded"


def test_the_clock_says_where_it_is() -> None:
    first, second = utc_now(), utc_now()
    assert first.tzinfo is UTC
    assert timedelta() <= second - first < timedelta(minutes=1)
