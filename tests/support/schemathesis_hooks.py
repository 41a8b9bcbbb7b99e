"""Hooks of schemathesis, which runs as a process of its own: values for our own formats, and rules
that no schema can express."""

import base64
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st

from service.kit.http.cursors import encode_cursor
from service.subjects.domain.reference_types import IMAGE
from service.subscribers.domain import subscriber_rules
from tests.support.request_bodies import picture

NOBODY = "127.0.0.1:65009"
AUTHORITY = re.compile(r"^(https?://|nats://|tls://|rediss?://)[^/?#]*", re.IGNORECASE)
WAIT = re.compile(r"\d{1,9}")
LISTS = ("/v1/subjects", "/v1/subscribers/{subscriber_id}/deliveries")
HOLDS = "/v1/holds"
LATER = "2100-01-01T00:00:00Z"  # a hold ends in the future
ANY_TYPE = frozenset({*subscriber_rules.COMMON_READERS, "state", "type", "secret"})
PAST = datetime(2026, 1, 1, tzinfo=UTC)
CURSOR = encode_cursor(PAST, "sub_x")
IMAGES = [base64.b64encode(picture(shade=shade)).decode() for shade in range(8)]
URLS = [
    f"{scheme}://{NOBODY}{path}"
    for scheme, path in (
        ("https", "/a?b=c"),
        ("HTTP", ""),
        ("tls", ""),
        ("nats", "/"),
        ("rediss", "/1"),
        ("redis", ""),
    )
]
_numbers = count()


def _time(seconds: int) -> str:
    return (PAST + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


TIMES = st.integers(0, 10**7).map(_time)
schemathesis.openapi.format("uri", st.sampled_from(URLS))
schemathesis.openapi.format("base64-image", st.sampled_from(IMAGES))
schemathesis.openapi.format("date-time", TIMES)
schemathesis.openapi.format(
    "whsec",
    st.binary(min_size=24, max_size=64).map(lambda key: f"whsec_{base64.b64encode(key).decode()}"),
)


@schemathesis.hook
def before_call(
    _context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]
) -> None:
    """Keep requests from waiting, and make valid ones keep the rules beyond the schema."""
    if WAIT.fullmatch(str(case.query.get("wait"))):
        case.query["wait"] = 0
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    if "account" in case.query:
        case.query["account"] = "acme"
    if case.path in LISTS and "cursor" in case.query:
        case.query["cursor"] = CURSOR
    if "Cancel-After" in case.headers:
        case.headers["Cancel-After"] = "1h"  # above 0, and no longer than the settings allow
    if isinstance(case.body, dict):
        case.body = _make_consistent(case, _with_known_hosts(case.body))


def _make_consistent(case: schemathesis.Case[Any], body: dict[str, Any]) -> dict[str, Any]:
    """The body with fields that match each other."""
    if body.get("reference_type") == IMAGE:
        _with_distinct_images(body["element_image_list"])
    if "since" in body:
        body["since"] = _time(0)  # a replay begins before it ends
    if case.path.startswith("/v1/general/"):  # what comes again is refused there
        case.headers.pop("Idempotency-Key", None)
        body["external_task_id"] = f"n-{next(_numbers)}"
    if case.path == HOLDS:  # which would stop the calls of our own account
        body |= {"account": "other", "reason": "maintenance", "until": LATER}
    if case.method == "PATCH":  # what else it may be depends on what it is
        body = {name: value for name, value in body.items() if name in ANY_TYPE}
    return body


def _with_known_hosts(value: object) -> Any:  # noqa: ANN401
    """The JSON with URLs of an unused port, and with whole numbers as integers."""
    match value:
        case dict():
            return {name: _with_known_hosts(member) for name, member in value.items()}
        case list():
            return [_with_known_hosts(item) for item in value]
        case str():
            return AUTHORITY.sub(rf"\g<1>{NOBODY}", value)
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _with_distinct_images(images: dict[str, Any]) -> None:
    """Give the subject images that are valid and differ from each other."""
    if not AUTHORITY.match(images["frontal_image"]):
        images["frontal_image"] = IMAGES[next(_numbers) % len(IMAGES)]
    for image in images["refer_images"]:
        image["image_url"] = f"https://{NOBODY}/{next(_numbers)}.png"
