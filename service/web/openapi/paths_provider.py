"""The provider's own calls, as its clients make them; and what is said of its models."""

from typing import Any

from service.core import envelopes
from service.core.capabilities import MODELS
from service.core.kinds import IMAGE, VIDEO
from service.core.task_records import STATUSES
from service.web.compat import MAX_PAGE, MAX_PAGE_SIZE, PAGE_SIZE, PATH
from service.web.openapi import examples
from service.web.openapi.operations import (
    Part,
    answer,
    body,
    in_header,
    in_path,
    in_query,
    operation,
)
from service.web.openapi.paths_subjects import KEY_RULE, ONE_KEY, READ, WRITE
from service.web.openapi.pieces import (
    Schema,
    array,
    nullable,
    of_account,
    record,
    ref,
    text,
    truth,
    whole,
    word,
)
from service.web.openapi.problems import HEADERS, fails
from service.web.openapi.schemas_subjects import TAG_MADE, VOICE_MADE

TAG = "provider"
MEANINGS = {
    400: "A parameter is wrong; an unknown id is one, and so is an external id that is taken.",
    401: "No key, or not a good one.",
    403: "The key lacks the scope.",
    429: "Too many requests, or too many queued subjects.",
    500: "A fault of ours.",
    503: "It cannot be done now.",
}
NAMED = (
    "Media by the URLs that the provider names, else by those of the request. What was sent as"
    " Base64 is left out: it has no URL here. Null where none is left."
)
IMAGES = record(
    {"refer_images": array(record({"image_url": text()}))}, {"frontal_image": text()}, NAMED
)
VIDEOS = record({"refer_videos": array(record({"video_url": text()}))}, description=NAMED)
ELEMENT = record(
    {
        "element_id": {"type": ["integer", "string"], "description": "With all its digits."},
        "element_name": text(),
        "element_description": text(),
        "reference_type": word(IMAGE, VIDEO),
        "tag_list": array(TAG_MADE),
        "owned_by": text(),
        "status": word("succeed"),
        "element_image_list": nullable(IMAGES),
        "element_video_list": nullable(VIDEOS),
    },
    {"element_voice_info": VOICE_MADE},
)
CREATED: dict[str, Schema] = {
    "task_id": ref("SubjectId"),
    "task_info": record({"external_task_id": text()}),
    "task_status": word(*dict.fromkeys(STATUSES.values())),
    "created_at": whole(0, description="Unix milliseconds."),
    "updated_at": whole(0, description="Unix milliseconds."),
}
MADE = {
    "task_result": record({"elements": array(ELEMENT)}),
    "final_unit_deduction": text(),
}


def schemas() -> dict[str, Schema]:
    more = {**MADE, **of_account()}
    tasks = record({**CREATED, "task_status_msg": text()}, more, "In the older shape.")
    made = {
        f"Refused{status}": record(
            {
                "code": {"type": "integer", "enum": codes},
                "message": text("All that is wrong."),
                "request_id": text(),
            }
        )
        for status, codes in _codes().items()
    }
    request: Schema = {
        "description": "A `SubjectRequest`, once what is left aside is gone.",
        "anyOf": [ref("SubjectRequest"), {"type": "object"}],
    }
    return made | {"Task": tasks, "TaskRequest": request, "Model": _model()}


def _codes() -> dict[int, list[int]]:
    """The codes of each status that these calls have."""
    listed: dict[int, list[int]] = {status: [] for status in MEANINGS}
    for code, status in envelopes.STATUS.items():
        if status in listed:
            listed[status].append(code)
    return listed


def _model() -> Schema:
    limit = record(
        {
            "when": text("What a request has beside its subjects."),
            "subjects": whole(0),
            "image_subjects": whole(0),
            "video_subjects": whole(0),
            "images_and_image_subjects": nullable(whole(0)),
        }
    )
    return record(
        {
            "model": word(*(one.model for one in MODELS)),
            "aliases": array(word(*{name: 0 for one in MODELS for name in one.aliases})),
            "image_subject": truth(),
            "video_subject": truth(),
            "subjects_per_request": record(
                {"most": whole(0), "limits": array(limit), "note": text("For people.")}
            ),
        }
    )


def paths() -> dict[str, Any]:
    return {
        "/v1/capabilities": {"get": _capabilities()},
        PATH: {"post": _create(), "get": _list()},
        f"{PATH}/{{task_id}}": {"get": _read()},
    }


def _capabilities() -> Part:
    return operation(
        "readCapabilities",
        "Which model takes which kind of subject",
        tag="subjects",
        scope=READ,
        answers={
            "200": answer("All models.", record({"data": array(ref("Model"))})),
            **fails(422),
        },
    )


def _create() -> Part:
    return operation(
        "createTask",
        "Create a subject as the provider's clients do",
        tag=TAG,
        scope=WRITE,
        own=True,
        description="Members that are not set (null, or an empty text, list or object) and members "
        "that nobody knows are left aside, also within others. A trailing slash is taken too.",
        parameters=[in_header("Idempotency-Key", ONE_KEY, KEY_RULE, "order-7733")],
        body=body(ref("TaskRequest"), examples.TASKS),
        answers=_answers("It is queued.", record(CREATED, of_account())),
    )


def _list() -> Part:
    return operation(
        "listTasks",
        "List subjects, the newest first",
        tag=TAG,
        scope=READ,
        description="A trailing slash is taken too, and parameters that are not known.",
        parameters=[
            in_query("pageNum", whole(1, MAX_PAGE) | {"default": 1}, "Which page.", 1),
            in_query("pageSize", whole(1, MAX_PAGE_SIZE) | {"default": PAGE_SIZE}, "Of how many."),
            in_query("account", text(), "An operator's list is of this account alone.", "acme"),
        ],
        answers=_answers("A page.", array(ref("Task"))),
    )


def _read() -> Part:
    name = in_path(
        "task_id",
        text(minLength=1),
        "Our id, or the external one; a slash in it is `%2F`. An operator finds what is another "
        "account's by our id alone.",
        "ada-1",
    )
    return operation(
        "readTask",
        "Query a subject",
        tag=TAG,
        scope=READ,
        parameters=[name],
        answers=_answers("As it is now.", ref("Task")),
    )


def _answers(meaning: str, data: Schema) -> dict[str, Any]:
    """In the provider's envelope, all of them."""
    whole_ = record(
        {
            "code": {"type": "integer", "const": 0},
            "message": word(envelopes.SUCCEED),
            "request_id": text(),
            "data": data,
        }
    )
    refused = {
        str(status): answer(what, ref(f"Refused{status}"), HEADERS.get(status))
        for status, what in MEANINGS.items()
    }
    return {"200": answer(meaning, whole_), **refused}
