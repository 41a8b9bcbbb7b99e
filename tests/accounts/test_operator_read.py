"""A key with `operator:read` sees every account, but neither contents nor secrets, and changes
nothing."""

import re

import httpx
import pytest

from service.accounts.domain.contents import CONTENTS, hide_contents, shows_contents
from service.accounts.domain.scopes import SCOPES, KeyScope, effective_scopes, permits
from service.accounts.steps import api_keys
from service.app import ROUTES
from tests.accounts.test_access import COMPAT, NEEDS, OWN, call, is_problem
from tests.support.api import Api
from tests.support.callbacks import current_callback, url_token
from tests.support.callbacks import signed_headers as signed
from tests.support.database import fetch
from tests.support.event_streams import FeedApi, open_stream, web_server
from tests.support.operations import make_replay
from tests.support.request_bodies import request_body
from tests.support.webhook_receiver import WebhookReceiver

MARK = "Xyzzy"  # stands in all contents, and nowhere else
READ_ONLY = [
    [KeyScope.OPERATOR_READ],
    [scope for scope in SCOPES if scope is not KeyScope.OPERATOR],  # others give it nothing
]
PARAMETERS = {name for _, path in NEEDS for name in re.findall(r"{(\w+)}", path)}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")


@pytest.fixture
async def ids(api: Api, subscriber: WebhookReceiver) -> dict[str, str]:
    """Ids of things of our account, by the name they have in a path: all of them with contents."""
    subscriber.answer = f"{MARK} answers".encode()
    made = await api.subscribe(
        f"{subscriber.url}/{MARK}", description=f"{MARK}'s", headers={"x-note": f"{MARK} sends"}
    )
    subject = await api.create(
        element_name=MARK,
        element_description=f"{MARK} in a test",
        callback_url=f"{subscriber.url}/{MARK}/called",
    )
    await api.work()
    await api.wait_until_finished(subject["id"])
    await api.work()
    body = current_callback(subject["id"], "processing", note=MARK)
    path = f"/callbacks/{url_token(api.resources, subject['id'])}"
    headers = signed(body, api.resources.clock(), "msg_marked") | {"user-agent": MARK}
    assert (await api.http.post(path, content=body, headers=headers)).status_code == 200
    (callback,) = await fetch(api.resources, "SELECT id FROM callbacks WHERE dedup_key ~ 'marked'")
    path = f"/v1/subscribers/{made['id']}/deliveries"
    deliveries = (await api.http.get(path, params={"state": "delivered"})).json()["data"]
    found = dict.fromkeys(PARAMETERS, "one_of_none")
    found |= dict.fromkeys(("subject_id", "task_id"), subject["id"])
    found |= {"subscriber_id": made["id"], "delivery_id": deliveries[0]["id"]}
    found["operation_id"] = await make_replay(api, made["id"])
    return found | {"callback_id": callback["id"]}


async def key_of(api: Api, *scopes: str) -> str:
    return f"Bearer {await api_keys.create(api.resources, 'operations', scopes)}"


# What a key may read that sees all: /metrics, and what only an account's own keys may, apart.
READABLE = [
    path
    for method, path in NEEDS.keys() - OWN
    if method == "GET" and NEEDS[method, path] not in {None, "metrics"}
]


async def test_contents_are_shown_to_operators_and_to_nobody_who_only_reads(
    api: Api, ids: dict[str, str]
) -> None:
    operator, reader = await key_of(api, "operator"), await key_of(api, "operator:read")
    marked = set()
    for path in READABLE:
        full, hidden = [await call(api, "GET", path, ids, key) for key in (operator, reader)]
        assert full.status_code == hidden.status_code == 200, (path, hidden.text)
        if MARK in full.text:
            marked.add(path)
        assert MARK not in hidden.text + str(hidden.headers), path
        assert hidden.json() == hide_contents(hidden.json())
        assert hidden.json().keys() == full.json().keys()
        assert hidden.headers["content-length"] == str(len(hidden.content))
    assert marked == {
        "/v1/subjects",
        "/v1/subjects/{subject_id}",
        "/v1/subjects/{subject_id}/events",
        "/v1/events",
        "/v1/subscribers",
        "/v1/subscribers/{subscriber_id}",
        "/v1/deliveries/{delivery_id}",
        "/v1/callbacks/{callback_id}",
        *(COMPAT, f"{COMPAT}/", f"{COMPAT}/{{task_id}}"),
    }


async def test_streams_hide_contents_too(api: Api, ids: dict[str, str]) -> None:
    key = (await key_of(api, "operator:read")).removeprefix("Bearer ")
    async with web_server(api.resources) as server:
        feeds = FeedApi(api.resources, "", key, server)
        for path in (f"/v1/subjects/{ids['subject_id']}/events", "/v1/events?after=0-0"):
            async with open_stream(feeds.web.port, path, key) as stream:
                frames = await stream.frames(2)
            assert [frame.data["data"]["element_name"] for frame in frames] == [None, None]
            assert MARK not in str(frames)
            assert {frame.data["data"]["id"] for frame in frames} == {ids["subject_id"]}
        async with open_stream(feeds.web.port, "/v1/events", key) as live:
            await api.create(element_name=MARK)
            assert MARK not in str(await live.frame())


@pytest.mark.parametrize("given", READ_ONLY, ids=["alone", "beside_others"])
async def test_every_method_that_is_no_get_is_refused(
    api: Api, ids: dict[str, str], given: list[str]
) -> None:
    tables = "subjects", "subscribers", "deliveries", "events", "callbacks", "accounts"
    count = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in tables)  # noqa: S608
    key = await key_of(api, *given)
    own = f"Bearer {await api_keys.create(api.resources, 'acme', given)}"
    before = await fetch(api.resources, count)
    changing = {(m, p) for m, p in NEEDS if m not in {"GET", "HEAD"} and NEEDS[m, p] is not None}
    for authorization in (key, own):
        for method, path in changing:
            answer = await call(api, method, path, ids, authorization)
            is_problem(answer, 403, "forbidden")
        for method, path in OWN:
            is_problem(await call(api, method, path, ids, authorization), 403, "forbidden")
    for route in ROUTES:
        path = route.path.replace(":path", "").format(**ids, rest="x")
        for method in set(METHODS) - {"GET", "HEAD"} - (route.methods or set()):
            answer = await bare(api, method, path, own)
            assert answer.status_code in {400, 403, 404, 405}, (method, path)
    assert await fetch(api.resources, count) == before


async def bare(api: Api, method: str, path: str, key: str) -> httpx.Response:
    return await api.http.request(method, path, headers={"authorization": key}, json={})


@pytest.mark.parametrize(("method", "least"), [("GET", "operator:read"), ("POST", "operator")])
async def test_who_lacks_a_scope_is_told_of_the_least_that_is_enough(
    api: Api, method: str, least: str
) -> None:
    answer = await api.http.request(method, "/v1/holds", json={} if method == "POST" else None)
    assert answer.json()["title"] == f"This key lacks the scope {least}."


async def test_what_operators_alone_may_read_is_open_to_it_but_not_metrics() -> None:
    reader = effective_scopes(["operator:read"])
    for scope in KeyScope:
        may = permits(reader, scope, reads=True, allow_operator=True)
        assert may is (scope is not KeyScope.METRICS)
        assert not permits(reader, scope, reads=True, allow_operator=False) or (
            scope is KeyScope.OPERATOR_READ
        )
    both = effective_scopes(["metrics", "operator:read", "subjects:write"])
    assert both == {"metrics", "operator:read"}
    assert effective_scopes(SCOPES) == set(SCOPES)


def test_contents_are_hidden_however_deep_they_stand_and_nothing_else() -> None:
    value = {"data": [{"id": "sub_1", "element_name": "Ada", "error": {"code": "x"}}], "n": 10**25}
    hidden = hide_contents(value)
    assert hidden["data"] == [{"id": "sub_1", "element_name": None, "error": {"code": "x"}}]
    assert hidden["n"] == 10**25
    assert shows_contents(value)
    assert not shows_contents(hidden)
    for name in CONTENTS:
        assert hide_contents([{name: [request_body()]}]) == [{name: None}]
