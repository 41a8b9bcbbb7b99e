"""The document and the code name the same limits, words, codes, members and parameters: what is in
one is in the other."""

import ast
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from service.accounts.domain import access_tokens
from service.accounts.domain.scopes import SCOPES
from service.callbacks.domain.sources import SOURCE_NAME
from service.callbacks.store.archive import COUNTED, MAX_COUNTED
from service.callbacks.web import receive
from service.compat_api.domain import envelopes
from service.delivery.steps import replay
from service.event_feed.web import cursors
from service.intake.domain import request_rules as rules
from service.intake.web import routes
from service.kit import errors, validation
from service.kit.database.bounded_scan import MAX_ROWS_SCANNED
from service.kit.http import requests
from service.kit.http.responses import STATUS
from service.kit.ids import ALPHABET, ID_LENGTH
from service.kit.timestamps import DURATION
from service.media.domain import image, video
from service.openapi.routes import document
from service.operations.domain.operation import OperationKind
from service.operations.steps import holds, make_operation, operation_rules
from service.operations.steps import replay as operations_replay
from service.status.web import conditional
from service.subscribers.domain import custom_headers, subscriber_rules
from service.subscribers.steps import rotate
from tests.support.openapi_constants import DOCUMENTED

DOCUMENT = document()
SCHEMAS: Mapping[str, Any] = DOCUMENT["components"]["schemas"]
SERVICE = Path(__file__).parents[2] / "service"
BOUNDS = (
    *("enum", "const", "default", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "maxProperties"),
)

# Words and codes that other tests here, or answers of the live service, hold.
ELSEWHERE = re.compile(
    r"(isAlive|isReady)\.status|createSubjects\.data\.status|PublicKey\.\w+|ProblemType"
    r"|(NoStore|Challenge|readDocument|readPage)(\.[\w-]+)?|Refused\d+\.code"
)


def rules_in(part: object, place: str) -> Iterator[tuple[str, str, object]]:
    """Each rule in a part of the document: where, its keyword, and its value."""
    if isinstance(part, list):
        for entry in part:
            yield from rules_in(entry, place)
    if isinstance(part, dict):
        here = f"{place}.{part['name']}" if "in" in part else place
        for keyword, value in part.items():
            if keyword in BOUNDS:
                yield here, keyword, value
            else:
                yield from rules_behind(keyword, value, here)


def rules_behind(keyword: str, value: object, place: str) -> Iterator[tuple[str, str, object]]:
    """Each rule in what stands behind a keyword that is none itself."""
    if keyword == "properties" and isinstance(value, dict):
        for name, member in value.items():
            yield from rules_in(member, f"{place}.{name}")
    elif keyword not in {"example", "examples"}:
        yield from rules_in(value, place)


def in_document() -> Iterator[tuple[str, str, object]]:
    for calls in DOCUMENT["paths"].values():
        for call in calls.values():
            yield from rules_in(call, call["operationId"])
    components = DOCUMENT["components"]
    for kind in ("schemas", "headers"):
        for name, part in components[kind].items():
            if "status" not in part.get("properties", {}) or "title" not in part["properties"]:
                yield from rules_in(part, name)
    for name, parameter in components["parameters"].items():
        yield from rules_in(parameter["schema"], name)


def written(place: str, keyword: str, value: object) -> tuple[str, str, object]:
    """A rule as it can be compared: words in any order."""
    return place, keyword, frozenset(value) if isinstance(value, list) else value


def counts(keyword: str, value: object) -> bool:
    """Whether a rule says no more than that something is a count, or is not empty."""
    return keyword.startswith("min") and value in {0, 1}


def test_each_limit_and_word_is_that_of_the_code_and_none_is_left_out() -> None:
    held = {
        written(place, keyword, value)
        for place, its in DOCUMENTED.items()
        for keyword, value in its.items()
    }
    found = {written(*rule) for rule in in_document() if not ELSEWHERE.fullmatch(rule[0])}
    assert held - found == set()
    assert {rule for rule in found - held if not counts(rule[1], rule[2])} == set()


def text_of(operation: str) -> str:
    (call,) = [
        call
        for calls in DOCUMENT["paths"].values()
        for call in calls.values()
        if call["operationId"] == operation
    ]
    return str(call)


LIMITS_OF_BODIES = {
    routes.MAX_SUBJECT_BODY: ("createSubject", "createSubjects"),
    requests.MAX_SMALL_BODY: (
        *("createSubscriber", "changeSubscriber", "replay", "hold", "createOperation"),
        *("rotateSecret", "rotateCallbackSecret"),
    ),
    receive.MAX_BODY: ("takeCallback", "takeCallbackAt", "takeCallbackFrom"),
}
FIGURES: list[tuple[object, str]] = [
    *(
        (text_of(operation), f"at most {limit:,} bytes")
        for limit, operations in LIMITS_OF_BODIES.items()
        for operation in operations
    ),
    (text_of("createOperation"), f"counts for {make_operation.COUNT_SECONDS:.0f} seconds"),
    (text_of("createOperation"), f"up to {make_operation.MAX_COUNTED:,} at most"),
    (text_of("replay"), f"More than {operations_replay.AT_ONCE:,} are sent by workers"),
    (text_of("replay"), f"At most {operations_replay.MAX_RUNNING} such operations"),
    (text_of("readSubject"), f"At most {conditional.MAX_LONG_POLL} seconds are waited"),
    (text_of("readSubject"), f"more than {conditional.MAX_WAIT} counts"),
    (DOCUMENT["components"]["parameters"]["wait"], f"After {conditional.MAX_LONG_POLL} seconds"),
    (DOCUMENT["components"]["parameters"]["limit"], f"looks through {MAX_ROWS_SCANNED:,} entries"),
    (DOCUMENT["components"]["securitySchemes"], f"at most {access_tokens.MAX_LIFETIME:,} seconds"),
    (DOCUMENT["components"]["securitySchemes"], f"at most {access_tokens.CLOCK_LEEWAY}."),
    (SCHEMAS["Image"], f"at most {image.MAX_BYTES:,} bytes"),
    (SCHEMAS["Image"], f"at least {image.MIN_SIDE} pixels"),
    (SCHEMAS["Image"], f"1:{image.MAX_RATIO[0] / image.MAX_RATIO[1]}"),
    (SCHEMAS["VideoList"], f"{video.MIN_SECONDS} to {video.MAX_SECONDS} s"),
    (SCHEMAS["VideoList"], f"give or take {float(video.DURATION_TOLERANCE)} s"),
    (SCHEMAS["VideoList"], f"at most {float(video.MAX_TOTAL_SECONDS)} s"),
    (SCHEMAS["VideoList"], f"at most {video.MAX_BYTES:,} bytes"),
    (
        SCHEMAS["NewWebhook"]["properties"]["headers"],
        f"at most {custom_headers.MAX_TOTAL_BYTES} bytes",
    ),
    (SCHEMAS["Subscriber"]["properties"]["headers"], f"`{custom_headers.MASK}` hides"),
    (SCHEMAS["TagId"], ", ".join(rules.TAGS.values())),
    (text_of("hold"), f"At most {holds.MAX_HOLDS} holds"),
    (SCHEMAS["Counts"], f"{MAX_COUNTED:,} stands for"),
]


@pytest.mark.parametrize(("part", "figure"), FIGURES)
def test_each_figure_in_the_prose_is_that_of_the_code(part: object, figure: str) -> None:
    assert figure in str(part)


def test_each_pattern_that_the_code_has_too_is_the_same() -> None:
    id_ = f"[{ALPHABET}]{{{ID_LENGTH}}}"
    patterns = {
        "SubjectId": f"^sub_{id_}$",
        "SubscriberId": f"^sbr_{id_}$",
        "CallbackId": f"^cbk_{id_}$",
        "HoldId": f"^hld_{id_}$",
        "Duration": f"^{DURATION.pattern}$",
        "FeedCursor": "^{}$".format(
            re.sub(r"\((\\d[^()]*)\)", r"\1", cursors.ACCOUNT_CURSOR.pattern).replace("(?:", "(")
        ),
        "Voice": f"^{validation.VISIBLE.pattern}$",
    }
    assert {name: SCHEMAS[name]["pattern"] for name in patterns} == patterns
    assert re.fullmatch(SCHEMAS["SubjectCursor"]["pattern"], str(cursors.MAX_SEQUENCE))
    assert not re.fullmatch(SCHEMAS["SubjectCursor"]["pattern"], str(cursors.MAX_SEQUENCE + 1))
    assert f"'^{SOURCE_NAME.pattern}$'" in text_of("takeCallbackFrom")


def conflicts() -> Iterator[str]:
    """The codes of all Conflicts that the service raises, or keeps as a result."""
    for file in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Conflict":
                yield code_of(node, file)


def code_of(call: ast.Call, file: Path) -> str:
    """What a Conflict is made with: its second argument, a text or a constant of its module."""
    if len(call.args) == 1:
        return errors.Conflict.code
    argument = call.args[1]
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    module = ".".join(file.relative_to(SERVICE.parent).with_suffix("").parts)
    code: str = getattr(import_module(module), ast.unparse(argument))
    return code


def test_each_problem_has_a_code_and_each_code_a_problem() -> None:
    described = {
        (schema["properties"]["status"]["const"], code)
        for schema in SCHEMAS.values()
        if "title" in schema.get("properties", {})
        for code in schema["properties"]["code"]["enum"]
    }
    raised = {(status, kind.code) for kind, status in STATUS.items()}
    raised |= {
        (STATUS[errors.TooManyRequests], code)
        for code in (errors.QUEUE_FULL, errors.TOO_MANY_REQUESTS)
    }
    raised |= {(STATUS[errors.Conflict], code) for code in conflicts()}
    assert described == raised


def test_each_code_of_the_provider_is_there_by_its_status() -> None:
    described = {
        (code, int(name.removeprefix("Refused")))
        for name, schema in SCHEMAS.items()
        if name.startswith("Refused")
        for code in schema["properties"]["code"]["enum"]
    }
    nowhere = {0, envelopes.UNKNOWN_METHOD, envelopes.UNKNOWN_PATH}  # of no call that there is
    assert described == {
        status for status in envelopes.HTTP_STATUS.items() if status[0] not in nowhere
    }


def test_each_scope_is_needed_somewhere_and_no_other() -> None:
    needed = {
        scope
        for calls in DOCUMENT["paths"].values()
        for call in calls.values()
        for alternative in call["security"]
        for scope in alternative["key"]
    }
    assert needed == set(SCOPES)


@pytest.mark.parametrize(
    ("schema", "read"),
    [
        ("ImageSubjectRequest", set(rules.READERS)),
        ("VideoSubjectRequest", set(rules.READERS)),
        ("NewWebhook", {*subscriber_rules.FIELD_NAMES, "type", "secret"}),
        ("NewNats", {*subscriber_rules.FIELD_NAMES, "type", "secret"}),
        ("NewRedisStream", {*subscriber_rules.FIELD_NAMES, "type", "secret"}),
        ("ChangedWebhook", {*subscriber_rules.FIELD_NAMES, "type", "secret", "state"}),
        ("ChangedNats", {*subscriber_rules.FIELD_NAMES, "type", "secret", "state"}),
        ("ChangedRedisStream", {*subscriber_rules.FIELD_NAMES, "type", "secret", "state"}),
        ("Replay", set(replay.READERS)),
        *((f"New{what.title()}", set(operation_rules.FIELDS)) for what in OperationKind),
        ("Rotation", set(rotate.READERS)),
        ("Counts", set(COUNTED)),
    ],
)
def test_each_member_of_a_body_is_one_that_is_read(schema: str, read: set[str]) -> None:
    assert set(SCHEMAS[schema]["properties"]) == read


@pytest.mark.parametrize("what", list(OperationKind))
def test_each_member_of_a_filter_is_one_that_is_read(what: OperationKind) -> None:
    described = SCHEMAS[f"New{what.title()}"]["properties"]["filter"]["properties"]
    assert set(described) == set(operation_rules.FILTERS[what])


def test_each_parameter_of_a_query_is_one_that_is_read() -> None:
    """Of all calls together; schemathesis finds a call that refuses one of its own."""
    parameters = [
        parameter
        for calls in DOCUMENT["paths"].values()
        for call in calls.values()
        for parameter in call.get("parameters", ())
    ]
    parameters += DOCUMENT["components"]["parameters"].values()
    described = {parameter["name"] for parameter in parameters if parameter.get("in") == "query"}
    assert described == set(queried())


def queried() -> Iterator[str]:
    """The names by which the service reads query parameters."""
    for file in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("query"), attr=method),
                    args=[ast.Constant(str(name)), *_],
                ) if hasattr(requests.Query, method):
                    yield name


def objects(part: object, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema of an object with members, and where it stands."""
    if isinstance(part, list):
        for entry in part:
            yield from objects(entry, place)
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield place, part
        for keyword, value in part.items():
            if keyword not in {"example", "examples"}:
                yield from objects(value, f"{place}.{keyword}")


def test_no_object_has_members_beside_those_that_are_described() -> None:
    """But for what the provider sends; so that each answer in the tests shows what is left out."""
    open_ = {
        place
        for place, schema in objects(DOCUMENT, "")
        if schema.get("additionalProperties") is not False
    }
    # What a signal has besides depends on who learnt it.
    assert open_ == {
        ".components.schemas.TaskRecord.oneOf",
        ".components.schemas.StorySignal",
    }


def test_no_member_is_required_that_is_not_described() -> None:
    for place, schema in objects(DOCUMENT, ""):
        assert set(schema.get("required", ())) <= set(schema["properties"]), place
