"""What is said when something is wrong: problems (RFC 9457), one schema a status."""

from typing import Any

from service.core.fields import MAX_FINDINGS
from service.steps.validate import MAX_HEADER_FINDINGS
from service.web.openapi.pieces import Schema, array, record, ref, text, whole, word
from service.web.responses import PROBLEM

RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before it is sent again.",
        "required": True,
        "schema": whole(1),
    }
}
CHALLENGE = {
    "WWW-Authenticate": {"required": True, "schema": word("Bearer")},
}
HEADERS: dict[int, dict[str, Any]] = {401: CHALLENGE, 429: RETRY_AFTER, 503: RETRY_AFTER}
CODES: dict[int, tuple[str, str, tuple[str, ...]]] = {  # name, meaning, and codes by status
    400: ("Malformed", "It could not be read.", ("malformed",)),
    401: ("Unauthorized", "No key, or not a good one.", ("unauthorized",)),
    403: ("Forbidden", "The key lacks the scope.", ("forbidden",)),
    404: ("NotFound", "Nothing of that name in this account.", ("not_found",)),
    413: ("TooLarge", "More bytes than allowed.", ("too_large",)),
    415: ("NotJson", "Not application/json, or encoded.", ("unsupported_media_type",)),
    422: ("Invalid", "Rules are broken: all of them are listed.", ("invalid",)),
    429: (
        "TooMany",
        "More requests a second, or more queued subjects, than the account may have.",
        ("too_many_requests", "queue_full"),
    ),
    503: ("Unavailable", "It cannot be done now.", ("unavailable",)),
}
CONFLICTS: dict[str, tuple[tuple[str, ...], dict[str, Schema]]] = {
    "Taken": (("idempotency_key_reused", "external_task_id_taken"), {}),
    "NotQueued": (("conflict",), {"state": ref("State")}),
    "Disabled": (("subscriber_disabled",), {}),
}
FINDING = record(
    {
        "pointer": text("A JSON Pointer (RFC 6901) to what breaks the rule."),
        "code": text("A stable name of the rule.", pattern="^[a-z0-9_]+$"),
        "message": text("For people.", minLength=1),
    }
)


def schemas() -> dict[str, Schema]:
    made = {name: _problem(status, codes) for status, (name, _, codes) in CODES.items()}
    findings = array(ref("Finding"), range(1, MAX_FINDINGS + MAX_HEADER_FINDINGS + 1))
    made["Invalid"] = _problem(422, CODES[422][2], {"errors": findings})
    made["Finding"] = FINDING
    for name, (codes, extra) in CONFLICTS.items():
        made[name] = _problem(409, codes, extra)
    made["NotRejected"] = _problem(409, ("not_rejected",), {"verdict": ref("Verdict")})
    made["StillRejected"] = _problem(409, ("still_rejected",), {"reason": text()})
    made["NotBelieved"] = _problem(401, ("signature",))
    return made


def _problem(status: int, codes: tuple[str, ...], extra: dict[str, Schema] | None = None) -> Schema:
    return record(
        {
            "type": word("about:blank"),
            "title": text("For people.", minLength=1),
            "status": {"type": "integer", "const": status},
            "code": word(*codes, description="Stable."),
            **(extra or {}),
        }
    )


def responses() -> dict[str, Any]:
    return {
        name: _response(meaning, ref(name), HEADERS.get(status))
        for status, (name, meaning, _) in CODES.items()
    }


def fails(*statuses: int) -> dict[str, Any]:
    """The answers of these statuses."""
    return {
        str(status): {"$ref": f"#/components/responses/{CODES[status][0]}"} for status in statuses
    }


def conflict(meaning: str, *names: str) -> dict[str, Any]:
    """409, with one of these schemas."""
    listed = [ref(name) for name in names]
    return {"409": _response(meaning, listed[0] if len(listed) == 1 else {"oneOf": listed})}


def not_believed() -> dict[str, Any]:
    meaning = "Its address or its signature is not good."
    return {"401": _response(meaning, ref("NotBelieved"), CHALLENGE)}


def _response(
    meaning: str, schema: Schema, headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    given = {"headers": headers} if headers else {}
    return {"description": meaning, **given, "content": {PROBLEM: {"schema": schema}}}
