"""Schemas of callbacks, as they are taken and as operators see them."""

from service.store.archive import COUNTED, MOST_COUNTED, VERDICTS
from service.store.inbox import Trust
from service.web.openapi.pieces import (
    Schema,
    nullable,
    record,
    ref,
    shown_time,
    text,
    whole,
    word,
)

SUMMARY: dict[str, Schema] = {
    "id": ref("CallbackId"),
    "account": nullable(text("The name of its subject's.")),
    "source": text(),
    "verdict": ref("Verdict"),
    "reason": nullable(text()),
    "trust": nullable(word(*Trust)),
    "subject_id": nullable(text()),
    "provider_task_id": nullable(text()),
    "status": nullable(text()),
    "provider_time": nullable(shown_time()),
    "seen": whole(1, description="How often it came."),
    "size": whole(0, description="Bytes of its body."),
    "received_at": shown_time(),
}
TASK_ID: Schema = {"type": ["string", "integer"], "description": "An id, in digits mostly."}
PROVIDERS: Schema = {
    "description": "A task record in one of the provider's two shapes; more may be in it.",
    "type": "object",
    "oneOf": [
        {
            "required": ["task_id", "task_status"],
            "properties": {"task_id": TASK_ID, "task_status": text()},
        },
        {"required": ["id", "status"], "properties": {"id": TASK_ID, "status": text()}},
    ],
}


def schemas() -> dict[str, Schema]:
    return {
        "Verdict": word(*VERDICTS),
        "TaskRecord": PROVIDERS,
        "Callback": record(SUMMARY),
        "WholeCallback": record(
            {
                **SUMMARY,
                "headers": {"type": "object", "additionalProperties": text()},
                "body": text(),
            },
            {"body_base64": text("Where `body` is not all of it.")},
        ),
        "Counts": record(
            dict.fromkeys(COUNTED, whole(0, MOST_COUNTED)),
            description=f"How many of each; {MOST_COUNTED:,} stands for that many or more.",
        ),
    }
