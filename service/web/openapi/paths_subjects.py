"""The calls about subjects."""

from typing import Any

from service.core.durations import DURATION
from service.core.request_rules import TAGS
from service.steps.validate import MAX_BATCH, MAX_KEY, MAX_KEY_OF_BATCH
from service.web.conditional import MOST_HELD, MOST_WAIT
from service.web.openapi import examples
from service.web.openapi.operations import (
    CURSOR,
    IF_NONE_MATCH,
    Part,
    answer,
    body,
    component,
    header,
    in_header,
    in_query,
    operation,
)
from service.web.openapi.pieces import (
    Schema,
    array,
    given_time,
    nullable,
    of_account,
    page_of,
    record,
    ref,
    sized,
    text,
    whole,
    word,
)
from service.web.openapi.problems import conflict, fails
from service.web.openapi.schemas_requests import EXTERNAL_ID
from service.web.openapi.schemas_subjects import SHOWN, WARNINGS
from service.web.requests import MAX_SUBJECT_BODY

READ, WRITE, TAG = "subjects:read", "subjects:write", "subjects"
SUBJECT = component("subject_id")
VISIBLE = r"^[!-~]([ -~]*[!-~])?$"
ONE_KEY = sized(range(1, MAX_KEY + 1), pattern=VISIBLE)
ONE_DURATION = text(pattern=f"^{DURATION.pattern}$")
KEY_RULE = "The same key with the same request gives the same subject, for 24 hours."
DURATION_RULE = (
    "How long it may take, as 90, 90s, 5m, 1h or 1d, from one second to what the settings allow: "
    "then it fails with the code `deadline_exceeded`."
)
OF_ONE = (
    in_header("Idempotency-Key", ONE_KEY, KEY_RULE, "order-7731"),
    in_header("Cancel-After", ONE_DURATION, DURATION_RULE, "12h"),
)
OF_MANY = (
    in_header(
        "Idempotency-Key",
        sized(range(1, MAX_KEY_OF_BATCH + 1), pattern=VISIBLE),
        "The n-th request, counted from 0, has this with `/n` after it.",
        "order-7732",
    ),
    in_header("Cancel-After", ONE_DURATION, f"{DURATION_RULE} It holds for each.", "12h"),
)
PREFER = in_header(
    "Prefer",
    text(),
    f"`wait=N` (RFC 7240): answered when it is another than was known, or finished, or after N "
    f"seconds. At most {MOST_HELD} seconds are waited, whatever is asked for; {MOST_WAIT} is "
    "taken.",
    "wait=0",
)
LOCATION = header("Where the subject is read.", text(pattern="/v1/subjects/[^/]+$"))
FILTERS = (
    in_query("state", ref("State"), "In this state now."),
    in_query("external_task_id", EXTERNAL_ID, "The caller's own id.", "ada-1"),
    in_query("tag", word(*TAGS), "With this tag, by its id.", "o_102"),
    in_query("created_after", given_time(), "Later than this.", "2026-01-01T00:00:00Z"),
    in_query("created_before", given_time(), "Earlier than this.", "2026-12-31T23:59:59.5+01:00"),
)
SHORT = "A page; it may be short, or empty, and not the last."
BODY_RULES = f"At most {MAX_SUBJECT_BODY:,} bytes: four images of 10 MB in Base64, and no fifth."


def paths() -> dict[str, Any]:
    return {
        "/v1/subjects": {"post": _create(), "get": _list()},
        "/v1/subjects/batch": {"post": _create_many()},
        "/v1/subjects/{subject_id}": {"get": _read()},
        "/v1/subjects/{subject_id}/cancel": {"post": _cancel()},
    }


def _create() -> Part:
    known = answer(
        "The same request was accepted before: its subject.",
        ref("Subject"),
        {"Location": LOCATION},
    )
    return operation(
        "createSubject",
        "Queue a subject",
        tag=TAG,
        scope=WRITE,
        own=True,
        description=f"Durable from the moment of the answer. {BODY_RULES}",
        parameters=OF_ONE,
        body=body(ref("SubjectRequest"), examples.SUBJECTS),
        answers={
            "200": known,
            "202": answer("Queued.", ref("Subject"), {"Location": LOCATION}),
            **conflict("The key, or the external id, stands for another request.", "Taken"),
            **fails(400, 413, 415, 422),
        },
    )


def _create_many() -> Part:
    one: Schema = {
        "description": "Read as the body of `POST /v1/subjects`.",
        "anyOf": [ref("SubjectRequest"), {}],
    }
    return operation(
        "createSubjects",
        "Queue many subjects",
        tag=TAG,
        scope=WRITE,
        own=True,
        description=f"Each is answered by itself, in their order. {BODY_RULES}",
        parameters=OF_MANY,
        body=body(record({"subjects": array(one, range(1, MAX_BATCH + 1))}), examples.BATCH),
        answers={
            "207": answer("What became of each.", record({"data": array(_one_answer())})),
            **fails(400, 413, 415, 422),
        },
    )


def _one_answer() -> Schema:
    taken = record({"status": {"type": "integer", "enum": [200, 202]}, "subject": ref("Subject")})
    refused = [ref(name) for name in ("Taken", "Invalid", "TooMany")]
    return {
        "oneOf": [
            taken,
            record(
                {
                    "status": {"type": "integer", "enum": [409, 422, 429]},
                    "problem": {"oneOf": refused},
                }
            ),
        ]
    }


def _read() -> Part:
    kept = {
        "ETag": header("Of what is known to have happened to it.", text(pattern='^(W/)?"[^"]+"$')),
        "Cache-Control": header("To ask again each time.", text()),
        "Retry-After": header("Seconds, while it is not finished.", whole(1), always=False),
        "Preference-Applied": header(
            "How long it may have waited.", text(pattern=r"^wait=\d+$"), always=False
        ),
    }
    position = record({"position": whole(1), "age_seconds": whole(0)})
    queue = position | {"description": "While it is queued: where, among its account's."}
    shown = record(SHOWN, {"queue": queue, "warnings": WARNINGS, **of_account()})
    return operation(
        "readSubject",
        "Read a subject",
        tag=TAG,
        scope=READ,
        parameters=[SUBJECT, IF_NONE_MATCH, PREFER],
        answers={
            "200": answer("As it is now.", shown, kept, examples.SUBJECT),
            "304": answer("It is as `If-None-Match` says.", headers=kept),
            **fails(404, 422),
        },
    )


def _list() -> Part:
    return operation(
        "listSubjects",
        "List subjects, the newest first",
        tag=TAG,
        scope=READ,
        parameters=[*FILTERS, component("account"), component("limit"), component("cursor")],
        answers={
            "200": answer(SHORT, page_of(ref("Subject"), nullable(CURSOR))),
            **fails(400, 422),
        },
    )


def _cancel() -> Part:
    return operation(
        "cancelSubject",
        "Cancel a queued subject",
        tag=TAG,
        scope=WRITE,
        parameters=[SUBJECT],
        answers={
            "200": answer("Canceled, now or before.", ref("Subject")),
            **conflict("It is with the provider, or has ended.", "NotQueued"),
            **fails(404),
        },
    )
