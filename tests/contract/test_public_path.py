"""A service that is reached under a path of its own, which a proxy in front takes off."""

from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urljoin

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.app import build
from service.kit.http.connection_limits import BoundedHttpProtocol
from service.resources import Resources
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.http_server import http_server
from tests.support.request_bodies import request_body

ROOT = "/media/callsheet"


def proxied(app: ASGIApp) -> ASGIApp:
    """The application as one meets it behind a proxy: only under this path."""

    async def pass_on(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith(f"{ROOT}/"), scope["path"]
            path, raw_path = scope["path"][len(ROOT) :], scope["raw_path"][len(ROOT) :]
            scope = {**scope, "path": path, "raw_path": raw_path}
        await app(scope, receive, send)

    return pass_on


@pytest.fixture
async def behind(resources: Resources) -> AsyncIterator[Api]:
    app = build(resources)
    async with http_server(proxied(app), BoundedHttpProtocol) as address:
        settings = replace(resources.settings, public_url=address + ROOT)
        app.state.resources = reachable = replace(resources, settings=settings)
        key = await api_keys.create(reachable, "acme", SCOPES)
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            base_url=address + ROOT, headers=headers, trust_env=False, timeout=30
        ) as http:
            yield Api(reachable, http)


async def follow(api: Api, answer: httpx.Response) -> httpx.Response:
    """What is where Location says."""
    return await api.http.get(urljoin(str(answer.url), answer.headers["location"]))


async def test_a_location_can_be_followed_from_outside(behind: Api, api: Api) -> None:
    body = {"url": "https://backend.example.com/"}
    made = await behind.http.post("/v1/subscribers", json=body)
    assert made.headers["location"] == f"{ROOT}/v1/subscribers/{made.json()['id']}"
    assert (await follow(behind, made)).status_code == 200
    made = await api.http.post("/v1/subscribers", json=body)
    assert made.headers["location"] == f"/v1/subscribers/{made.json()['id']}"


async def test_the_description_says_where_the_calls_are(behind: Api, api: Api) -> None:
    for there, root in ((behind, ROOT), (api, "/")):
        described = (await there.http.get("/openapi.json")).json()
        assert described["servers"] == [{"url": root}]


async def test_the_provider_calls_back_under_the_path(behind: Api) -> None:
    answer = await behind.http.post("/v1/subjects", json=request_body())
    assert answer.headers["location"] == f"{ROOT}/v1/subjects/{answer.json()['id']}"
    assert (await follow(behind, answer)).status_code == 200
    await behind.work()
    ended = await behind.wait_until_finished(answer.json()["id"])
    assert ended["state"] == "succeeded"
    came = await fetch(behind.resources, "SELECT verification, verdict FROM callbacks")
    assert {(callback["verification"], callback["verdict"]) for callback in came} >= {
        ("signed", "applied")
    }
