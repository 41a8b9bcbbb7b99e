"""Schemas of subjects and events, as they are shown."""

from service.core import events, kinds
from service.core.lifecycle import State
from service.web.openapi.pieces import (
    Schema,
    array,
    nullable,
    of_account,
    record,
    ref,
    shown_time,
    text,
    whole,
    word,
)
from service.web.openapi.schemas_requests import EXTERNAL_ID

VOICE_MADE = record(
    {"voice_id": text()}, {"voice_name": text(), "trial_url": text(), "owned_by": text()}
)
TAG_MADE = record({"id": text(), "name": text(), "description": text()})
MADE = record(
    {"element_id": text("The provider's id, all of its digits.", pattern="^[!-~]{1,128}$")},
    {
        "element_name": text(),
        "element_description": text(),
        "reference_type": text(),
        "voice": VOICE_MADE,
        "tags": array(TAG_MADE),
        "owned_by": text(),
        "final_unit_deduction": text("What it cost, in the provider's units."),
        "provider_created_at": shown_time(),
        "provider_updated_at": shown_time(),
    },
    "What the provider made.",
)
FAILURE = record(
    {"code": text("Stable.", pattern="^[a-z0-9_]+$"), "message": text("For people.")},
    {"provider_code": nullable(whole())},
    "Why it failed.",
)
USABLE_WITH = array(text(), description="The models that take it, by all of their names.")
SHOWN: dict[str, Schema] = {
    "id": ref("SubjectId"),
    "external_task_id": nullable(EXTERNAL_ID),
    "provider_task_id": nullable(text()),
    "state": ref("State"),
    "version": whole(1, description="The sequence of its last event."),
    "reference_type": word(kinds.IMAGE, kinds.VIDEO),
    "element_name": text(),
    "element_description": text(),
    "element_voice_id": nullable(text()),
    "tag_list": array(ref("Tag")),
    "subject": nullable(MADE),
    "usable_with": nullable(USABLE_WITH),
    "error": nullable(FAILURE),
    "created_at": shown_time(),
    "updated_at": shown_time(),
    "finished_at": nullable(shown_time()),
}
WARNINGS = array(
    ref("Finding"),
    description="What was ignored, and which additional images are the same, by URL or by content: "
    "of what is behind URLs, once that was looked at. Left out where there is none.",
)
# Events stay as they were written: older ones do not have all that is shown now.
WRITTEN = {name: one for name, one in SHOWN.items() if name != "usable_with"}
SEQUENCE = whole(1, description="Counts the events of one subject, without gaps.")
OF_SUBJECT = record(
    {
        "id": ref("EventId"),
        "type": word(*events.TYPES.values()),
        "timestamp": shown_time(),
        "data": record(
            {**WRITTEN, "sequence": SEQUENCE},
            {"usable_with": SHOWN["usable_with"], "warnings": WARNINGS},
        ),
    },
    of_account(),
)
OF_SUBSCRIBER = record(
    {
        "id": ref("EventId"),
        "type": word(*events.OPERATIONAL),
        "timestamp": shown_time(),
        "data": record({"subscriber_id": text(), "reason": nullable(text()), "sequence": whole(1)}),
    },
    of_account(),
)


def schemas() -> dict[str, Schema]:
    return {
        "State": word(*State),
        "Subject": record(SHOWN, {"warnings": WARNINGS, **of_account()}),
        "Event": {"oneOf": [OF_SUBJECT, OF_SUBSCRIBER]},
    }
