"""The document says what the service does: its routes, its scopes, what its examples come to."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from service.accounts.domain.scopes import SCOPES
from service.app import ROUTES
from service.openapi.routes import document
from tests.accounts.test_access import NEEDS, OWN
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.database import fetch
from tests.support.holds import hold
from tests.support.operations import make as make_operation
from tests.support.webhook_receiver import WebhookReceiver

DOCUMENT = document()
CALLBACKS = {"/callbacks", "/callbacks/{address}", "/callbacks/{source}/{token}"}
CALLS = [
    (method.upper(), path, call)
    for path, methods in DOCUMENT["paths"].items()
    for method, call in methods.items()
]
REF = re.compile(r"#/components/(\w+)/(\w+)")
PROBLEM = "application/problem+json"


def found(part: dict[str, Any]) -> dict[str, Any]:
    """What it refers to, or itself."""
    if "$ref" not in part:
        return part
    match = REF.fullmatch(part["$ref"])
    assert match
    referred: dict[str, Any] = DOCUMENT["components"][match[1]][match[2]]
    return referred


def fits(value: object, schema: dict[str, Any]) -> None:
    whole = {"components": DOCUMENT["components"], **schema}
    errors = [str(error) for error in jsonschema_rs.iter_errors(whole, value)]
    assert not errors, errors


def references(part: object) -> set[str]:
    match part:
        case dict():
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*map(references, part.values()))
        case list():
            return set().union(*map(references, part))
        case _:
            return set()


def is_the_answer(answer: httpx.Response, call: dict[str, Any]) -> None:
    """It has a status, headers and a body that the document declares for this call."""
    declared = found(call["responses"][str(answer.status_code)])
    headers = {name: found(part) for name, part in declared.get("headers", {}).items()}
    for name, header in headers.items():
        assert name in answer.headers or not header["required"]
        if header["schema"].get("type") == "string":
            fits(answer.headers[name], header["schema"])
    content = declared.get("content", {})
    if not content:
        assert not answer.content
        return
    kind = answer.headers["content-type"].partition(";")[0]
    if kind.endswith("json"):
        fits(answer.json(), content[kind]["schema"])
    else:
        assert kind in content


def written(path: str) -> str:
    """A route's path as the document has it: once, where a slash may follow."""
    return path.removesuffix("/").replace(":path}", "}")


def test_it_is_a_good_document() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_nothing_is_referred_to_in_vain_and_nothing_is_left_over() -> None:
    named = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "parameters", "headers", "responses")
        for name in DOCUMENT["components"][kind]
    }
    assert references(DOCUMENT) == named


def test_names_of_calls_are_unique_and_tags_known() -> None:
    names = [call["operationId"] for _, _, call in CALLS]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert {tag for _, _, call in CALLS for tag in call["tags"]} == tags


def test_it_has_every_route_and_no_other() -> None:
    routes = {(method, written(route.path)) for route in ROUTES for method in route.methods or ()}
    assert {(method, path) for method, path, _ in CALLS if path not in CALLBACKS} == routes
    assert {path for _, path, _ in CALLS} >= CALLBACKS


def test_each_call_needs_the_scope_that_the_table_says() -> None:
    needs = {(method, written(path)): scope for (method, path), scope in NEEDS.items()}
    for method, path, call in CALLS:
        scopes = [scope for requirement in call["security"] for scope in requirement["key"]]
        needed = None if path in CALLBACKS else needs[method, path]
        or_operator = [] if (method, path) in OWN else ["operator"]
        if or_operator and method == "GET" and needed != "metrics":
            or_operator.append("operator:read")
        assert scopes == (list(dict.fromkeys([needed, *or_operator])) if needed else []), path


def test_a_setting_changes_the_one_rule_that_depends_on_it() -> None:
    schemas = document(allow_voice_for_images=True)["components"]["schemas"]
    for request in ("ImageSubjectRequest", "VideoSubjectRequest"):
        assert schemas[request] == DOCUMENT["components"]["schemas"][request]
    without = DOCUMENT["components"]["schemas"]
    members = [
        found(schemas[request]["properties"]["element_voice_id"])
        for request in ("ImageSubjectRequest", "VideoSubjectRequest")
    ]
    assert members == [without["ImageVoice"], without["Voice"]]
    assert schemas == without | {"ImageVoice": without["Voice"]}


@pytest.fixture
def scopes() -> Sequence[str]:
    """Enough for every call."""
    return SCOPES


@dataclass(frozen=True, slots=True)
class Example:
    """A call and its body; the first of each is sent with the examples of its parameters too."""

    method: str
    path: str
    call: dict[str, Any]
    body: object
    first: bool

    def request(self, api: Api, things: dict[str, str]) -> httpx.Request:
        parameters = map(found, self.call.get("parameters", ()))
        given = [parameter for parameter in parameters if "example" in parameter and self.first]
        headers = {
            parameter["name"]: str(parameter["example"])
            for parameter in given
            if parameter["in"] == "header"
        }
        query = {
            parameter["name"]: parameter["example"]
            for parameter in given
            if parameter["in"] == "query"
        }
        path = self.path.format(**things)
        return api.http.build_request(
            self.method, path, params=query, headers=headers, json=self.body
        )


def examples() -> Iterator[Example]:
    """Of a call that takes no body, the call."""
    for method, path, call in CALLS:
        content = call.get("requestBody", {}).get("content", {})
        bodies = [
            example["value"] for media in content.values() for example in media["examples"].values()
        ]
        for number, body in enumerate(bodies or [None]):
            yield Example(method, path, call, body, first=number == 0)


async def finish_what_is_erased(api: Api, example: Example, things: Mapping[str, str]) -> None:
    """Bring the subject of the call that erases it to its end."""
    if example.call["operationId"] == "eraseSubject":
        await api.http.post(f"/v1/subjects/{things['subject_id']}/cancel")


async def make(api: Api, subscriber: WebhookReceiver) -> dict[str, str]:
    """Something of each kind, by its name in a path: the ids in the document are made up."""
    made, subject = await api.subscribe(subscriber.url), await api.create()
    body = legacy_callback(None, task="7")
    await api.http.post(
        "/callbacks", content=body, headers=signed_headers(body, api.resources.clock())
    )
    (callback,) = await fetch(api.resources, "SELECT id FROM callbacks WHERE task_id = '7'")
    (delivery,) = await fetch(
        api.resources, "SELECT id FROM deliveries WHERE subscriber_id = $1", made["id"]
    )
    address = url_token(api.resources, subject["id"])
    operation = await make_operation(api, "cancel", {"account": "acme"})
    return {
        "operation_id": operation["id"],
        "subject_id": subject["id"],
        "subscriber_id": made["id"],
        "callback_id": callback["id"],
        "hold_id": (await hold(api.resources, "submissions")).id,
        "delivery_id": delivery["id"],
        "task_id": subject["id"],
        "address": address,
        "source": "provider",
        "token": address,
    }


async def test_each_example_is_answered_as_declared(api: Api, subscriber: WebhookReceiver) -> None:
    things = await make(api, subscriber)
    for number, example in enumerate(examples()):
        request = example.request(api, things)
        if example.path in CALLBACKS:
            now = api.resources.clock()
            request.headers.update(signed_headers(request.content, now, f"msg_{number}"))
        await finish_what_is_erased(api, example, things)
        answer = await api.http.send(request)
        assert answer.is_success, (example, answer.text)
        is_the_answer(answer, example.call)
        if example.method == "DELETE":
            things = await make(api, subscriber)


def test_each_example_of_an_answer_is_one() -> None:
    shown = [
        (media["schema"], media["example"])
        for _, _, call in CALLS
        for answer in map(found, call["responses"].values())
        for media in answer.get("content", {}).values()
        if "example" in media
    ]
    assert shown
    for schema, example in shown:
        fits(example, schema)


async def test_a_method_that_a_path_does_not_take_is_told_all_that_it_does(api: Api) -> None:
    for path, methods in DOCUMENT["paths"].items():
        if path.startswith("/v1/general/"):  # there it is the provider's way: 404, and 1202
            continue
        answer = await api.http.request("PROPFIND", path)
        assert answer.status_code == 405, path
        assert answer.json()["code"] == "method_not_allowed"
        allowed = set(answer.headers["allow"].split(", ")) - {"HEAD"}
        assert allowed == {method.upper() for method in methods}, path
