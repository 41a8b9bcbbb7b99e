"""Every route asks for a key, for its scope, and shows no account what is another's."""

from typing import Any

import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES, SCOPES
from service.accounts.steps import api_keys
from service.app import ROUTES
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers
from tests.support.database import fetch
from tests.support.holds import hold
from tests.support.operations import make_replay
from tests.support.request_bodies import request_body
from tests.support.webhook_receiver import WebhookReceiver

COMPAT = "/v1/general/advanced-custom-elements"  # the provider's own paths answer as it does
ENVELOPED = {
    "unauthorized": (401, {1000, 1001, 1002}),
    "forbidden": (403, {1103}),
    "not_found": (400, {1201}),
}
# The scope each call needs; None: open to all. A route that is missing here fails a test.
NEEDS: dict[tuple[str, str], str | None] = {
    ("POST", "/v1/subjects"): "subjects:write",
    ("POST", "/v1/subjects/batch"): "subjects:write",
    ("GET", "/v1/subjects"): "subjects:read",
    ("GET", "/v1/subjects/{subject_id}"): "subjects:read",
    ("POST", "/v1/subjects/{subject_id}/cancel"): "subjects:write",
    ("GET", "/v1/subjects/{subject_id}/events"): "subjects:read",
    ("GET", "/v1/subjects/{subject_id}/deliveries"): "subscribers",
    ("GET", "/v1/subjects/{subject_id}/story"): "subjects:read",
    ("GET", "/v1/events"): "subjects:read",
    ("POST", "/v1/subscribers"): "subscribers",
    ("GET", "/v1/subscribers"): "subscribers",
    ("GET", "/v1/subscribers/{subscriber_id}"): "subscribers",
    ("PATCH", "/v1/subscribers/{subscriber_id}"): "subscribers",
    ("DELETE", "/v1/subscribers/{subscriber_id}"): "subscribers",
    ("DELETE", "/v1/subjects/{subject_id}"): "subjects:write",
    ("POST", "/v1/subscribers/{subscriber_id}/test"): "subscribers",
    ("GET", "/v1/subscribers/{subscriber_id}/deliveries"): "subscribers",
    ("POST", "/v1/subscribers/{subscriber_id}/rotate-secret"): "subscribers",
    ("POST", "/v1/subscribers/{subscriber_id}/replay"): "subscribers",
    ("GET", "/v1/deliveries/{delivery_id}"): "subscribers",
    ("POST", "/v1/deliveries/{delivery_id}/resend"): "subscribers",
    ("GET", "/v1/account/callback-secret"): "subscribers",
    ("POST", "/v1/account/callback-secret/rotate"): "subscribers",
    ("GET", "/.well-known/jwks.json"): None,
    ("GET", "/v1/callbacks"): "operator",
    ("GET", "/v1/callbacks/{callback_id}"): "operator",
    ("POST", "/v1/callbacks/{callback_id}/reverify"): "operator",
    ("POST", "/v1/holds"): "operator",
    ("GET", "/v1/holds"): "operator",
    ("DELETE", "/v1/holds/{hold_id}"): "operator",
    ("GET", "/v1/actions"): "operator",
    ("POST", "/v1/operations"): "operator",
    ("GET", "/v1/operations"): "operator",
    ("GET", "/v1/operations/{operation_id}"): "subscribers",
    ("POST", "/v1/operations/{operation_id}/stop"): "subscribers",
    ("GET", "/v1/usage"): "subjects:read",
    ("GET", "/v1/capabilities"): "subjects:read",
    ("POST", COMPAT): "subjects:write",
    ("POST", f"{COMPAT}/"): "subjects:write",
    ("GET", COMPAT): "subjects:read",
    ("GET", f"{COMPAT}/"): "subjects:read",
    ("GET", f"{COMPAT}/{{task_id}}"): "subjects:read",
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): "metrics",
    ("GET", "/openapi.json"): None,
    ("GET", "/docs"): None,
}
# What an account's own callers alone may call: no operator makes, or signs, anything for others.
OWN = {
    ("POST", "/v1/subjects"),
    ("POST", "/v1/subjects/batch"),
    ("POST", "/v1/subscribers"),
    ("GET", "/v1/account/callback-secret"),
    ("POST", "/v1/account/callback-secret/rotate"),
    ("POST", COMPAT),
    ("POST", f"{COMPAT}/"),
}
# /callbacks is not among the routes: there a signature takes the key's place.
GUARDED = {call: scope for call, scope in NEEDS.items() if scope is not None}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/subjects": request_body(),
    "/v1/subjects/batch": {"subjects": [request_body()]},
    COMPAT: request_body(),
    f"{COMPAT}/": request_body(),
    "/v1/holds": {"what": "submissions", "reason": "maintenance"},
    "/v1/subscribers": {"url": "http://127.0.0.1:65009"},
    "/v1/subscribers/{subscriber_id}": {"description": "ours"},
    "/v1/operations": {"what": "cancel", "filter": {"account": "acme", "tag": "o_108"}},
    "/v1/subscribers/{subscriber_id}/replay": {"since": "2026-01-01T00:00:00Z", "only": "failed"},
}


@pytest.fixture
async def own_ids(api: Api, subscriber: WebhookReceiver) -> dict[str, str]:
    """Ids of things of our account, by the name they have in a path."""
    made, subject = await api.subscribe(subscriber.url), await api.create()
    body = legacy_callback(None, task="7")
    await api.http.post(
        "/callbacks", content=body, headers=signed_headers(body, api.resources.clock())
    )
    (callback,) = await fetch(api.resources, "SELECT id FROM callbacks")
    (delivery,) = await fetch(api.resources, "SELECT id FROM deliveries")
    ids = dict.fromkeys(("subject_id", "task_id"), subject["id"])
    ids["subscriber_id"] = made["id"]
    ids["hold_id"] = (await hold(api.resources, "submissions")).id
    ids["operation_id"] = await make_replay(api, made["id"])
    return ids | {"callback_id": callback["id"], "delivery_id": delivery["id"]}


async def call(
    api: Api, method: str, path: str, ids: dict[str, str], authorization: str | None
) -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx.AsyncClient(base_url=api.http.base_url, trust_env=False, timeout=30) as http:
        return await http.request(
            method,
            path.format(**ids),
            json=BODIES.get(path) if method in {"POST", "PATCH"} else None,
            headers=headers,
        )


def is_problem(answer: httpx.Response, status: int, code: str) -> None:
    if answer.request.url.path.startswith(COMPAT):
        is_envelope(answer, code)
        return
    assert answer.status_code == status, (answer.request.url, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


def is_envelope(answer: httpx.Response, code: str) -> None:
    """A refusal on the provider's own paths, in its envelope."""
    status, codes = ENVELOPED[code]
    assert answer.status_code == status, (answer.request.url, answer.text)
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"code", "message", "request_id"}
    assert body["code"] in codes


def test_every_route_is_in_the_table() -> None:
    walked = {
        (method, route.path.replace(":path", ""))
        for route in ROUTES
        for method in route.methods or ()
    }
    assert walked == set(NEEDS)


async def test_without_a_valid_key_every_route_answers_401(
    api: Api, own_ids: dict[str, str]
) -> None:
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    wrong = [None, "", "Bearer", "Bearer x", f"Basic {key}", f"Bearer {key}x", key]
    for method, path in GUARDED:
        for authorization in wrong:
            answer = await call(api, method, path, own_ids, authorization)
            is_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_of_bytes_that_are_no_text_is_refused(api: Api) -> None:
    for raw in (b"Bearer \xff\xfe", b"Bearer \xe4\xf6", b"\xff"):
        answer = await api.http.get("/v1/subjects", headers={b"authorization": raw})
        is_problem(answer, 401, "unauthorized")


async def test_a_key_permits_what_its_scopes_permit_and_nothing_else(
    api: Api, own_ids: dict[str, str]
) -> None:
    for (method, path), scope in sorted(GUARDED.items()):
        others = [name for name in SCOPES if name not in {scope, "operator", "operator:read"}]
        lacking = await api_keys.create(api.resources, "acme", others)
        is_problem(await call(api, method, path, own_ids, f"Bearer {lacking}"), 403, "forbidden")
    for (method, path), scope in sorted(GUARDED.items(), reverse=True):  # GET before DELETE
        enough = await api_keys.create(api.resources, "acme", [scope])
        answer = await call(api, method, path, own_ids, f"bearer  {enough}")
        assert answer.status_code < 300, (method, path, answer.text)


async def test_another_account_finds_nothing_of_ours(api: Api, own_ids: dict[str, str]) -> None:
    before = await fetch(api.resources, "SELECT * FROM subjects")
    key = f"Bearer {await api_keys.create(api.resources, 'other', DEFAULT_SCOPES)}"
    for (method, path), scope in GUARDED.items():
        if scope == "operator":  # nobody else may ask at all
            continue
        answer = await call(api, method, path, own_ids, key)
        if "{" in path:
            is_problem(answer, 404, "not_found")
        assert not [secret for secret in own_ids.values() if secret in answer.text], path
    after = await fetch(
        api.resources, "SELECT * FROM subjects WHERE id = $1", own_ids["subject_id"]
    )
    assert after == before
    assert (
        await call(api, "GET", "/v1/subscribers/{subscriber_id}", own_ids, None)
    ).status_code == 401
    subscriber_answer = await api.http.get(f"/v1/subscribers/{own_ids['subscriber_id']}")
    assert subscriber_answer.json()["state"] == "active"


async def operator(api: Api) -> str:
    """The key of an operator of another account, with no other scope."""
    return f"Bearer {await api_keys.create(api.resources, 'operations', ['operator'])}"


async def test_an_operator_may_use_everything_of_every_account(
    api: Api, own_ids: dict[str, str]
) -> None:
    key = await operator(api)
    for method, path in sorted(GUARDED.keys() - OWN, reverse=True):  # GET before DELETE
        answer = await call(api, method, path, own_ids, key)
        assert answer.status_code < 300, (method, path, answer.text)


async def test_every_answer_to_an_operator_names_the_account(
    api: Api, own_ids: dict[str, str]
) -> None:
    key = await operator(api)
    unnamed = {
        "/v1/capabilities",
        "/metrics",
        "/v1/holds",
        "/v1/actions",
    }  # of no account, as callbacks are that tell of no subject
    for method, path in sorted(GUARDED.keys() - OWN, reverse=True):
        if method == "DELETE" or path in unnamed or path.startswith("/v1/callbacks"):
            continue
        body = (await call(api, method, path, own_ids, key)).json()
        shown = body.get("data", body)
        shown = shown if isinstance(shown, list) else [shown]
        assert shown, path
        assert {entry["account"] for entry in shown} == {"acme"}, (path, body)


async def test_only_operators_see_names_of_accounts(api: Api, own_ids: dict[str, str]) -> None:
    key = api.http.headers["authorization"]
    for (method, path), scope in sorted(GUARDED.items(), reverse=True):
        if scope != "operator":
            assert '"account"' not in (await call(api, method, path, own_ids, key)).text


async def test_an_operator_creates_nothing_in_another_account(
    api: Api, own_ids: dict[str, str]
) -> None:
    key = await operator(api)
    for method, path in OWN:
        is_problem(await call(api, method, path, own_ids, key), 403, "forbidden")


async def test_an_operator_finds_nothing_where_nothing_is(
    api: Api, own_ids: dict[str, str]
) -> None:
    key, nothing = await operator(api), dict.fromkeys(own_ids, "sub_nothing")
    for method, path in GUARDED:
        if "{" in path:
            answer = await call(api, method, path, nothing, key)
            is_problem(answer, 404, "not_found")


async def test_an_operator_sees_no_hidden_subscriber(api: Api, own_ids: dict[str, str]) -> None:
    await api.create(callback_url="http://127.0.0.1:65009/called")
    (row,) = await fetch(api.resources, "SELECT id FROM subscribers WHERE type = 'callback'")
    hidden, key = own_ids | {"subscriber_id": row["id"]}, await operator(api)
    for method, path in GUARDED:
        if "{subscriber_id}" in path:
            is_problem(await call(api, method, path, hidden, key), 404, "not_found")
    listed = (await call(api, "GET", "/v1/subscribers", own_ids, key)).json()["data"]
    assert [entry["id"] for entry in listed] == [own_ids["subscriber_id"]]


async def test_what_is_open_needs_no_key(api: Api) -> None:
    for (method, path), scope in NEEDS.items():
        if scope is None and method == "GET":
            assert (await call(api, method, path, {}, None)).status_code == 200
