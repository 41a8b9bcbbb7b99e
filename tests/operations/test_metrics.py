"""GET /metrics: who may read it, in which formats it comes, and what it shows."""

import re
from collections.abc import Sequence

import httpx
import pytest

from service.accounts.steps import api_keys
from service.operations.web.metrics import OPENMETRICS, TEXT, wants_openmetrics
from tests.accounts.test_access import GUARDED, call, is_problem
from tests.support.api import Api
from tests.support.scrapes import read_openmetrics, read_text


@pytest.fixture
def scopes() -> Sequence[str]:
    return ["metrics"]


async def test_it_is_prometheus_text_unless_openmetrics_is_asked_for(api: Api) -> None:
    text = await api.http.get("/metrics")
    assert text.headers["content-type"] == TEXT
    openmetrics = await api.http.get(
        "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0; q=0.9, */*"}
    )
    assert openmetrics.headers["content-type"] == OPENMETRICS
    families = read_text(text.text).families
    assert families.keys() == read_openmetrics(openmetrics.text).families.keys()
    assert {"callsheet_build_info", "callsheet_oldest_age_seconds"} <= families.keys()
    assert "_created" not in text.text + openmetrics.text


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("text/plain, Application/OpenMetrics-Text ; Version=1.0.0 ; q=0.2", True),
        ("application/openmetrics-text;version=0.0.1,text/plain", False),
        ("application/openmetrics-text;version=2.0.0", False),
        (
            "application/openmetrics-text;version=0.0.1,application/openmetrics-text;version=1.0.0",
            True,
        ),
    ],
)
def test_openmetrics_is_made_for_whoever_names_the_version_that_is_made(
    accept: str,
    wanted: bool,  # noqa: FBT001
) -> None:
    assert wants_openmetrics(accept) is wanted


async def test_it_needs_a_key_and_takes_no_parameters(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.http.base_url, trust_env=False) as stranger:
        assert (await stranger.get("/metrics")).status_code == 401
    assert (await api.http.get("/metrics?name=a")).status_code == 422
    operator = await api_keys.create(api.resources, "operations", ["operator"])
    headers = {"authorization": f"Bearer {operator}"}
    assert (await api.http.get("/metrics", headers=headers)).status_code == 200


async def test_a_key_for_metrics_opens_nothing_else(api: Api) -> None:
    key = api.http.headers["authorization"]
    for method, path in GUARDED:
        if path != "/metrics":
            ids = dict.fromkeys(re.findall(r"{(\w+)}", path), "any")
            is_problem(await call(api, method, path, ids, key), 403, "forbidden")
