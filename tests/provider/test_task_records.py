"""What goes to a caller's own callback_url reads as the provider's own callbacks do."""

import json
from datetime import timedelta
from typing import Any

import orjson
import pytest

from service.kit.timestamps import to_milliseconds
from service.provider.domain.task_records import STATUS_OF_STATE, callback_body, task_record
from service.provider.domain.task_reports import TaskStatus, read_callback
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import State
from service.subjects.domain.representation import public_subject
from tests.support.subjects import NOW, make_subject

RESULT = {
    "element_id": "770000000000000001",
    "element_name": "Ada",
    "element_description": "a test",
    "reference_type": "image_refer",
    "voice": {"voice_id": "v1", "voice_name": "a voice"},
    "tags": [{"id": "o_102", "name": "person", "description": "person"}],
    "owned_by": "them",
    "final_unit_deduction": "2",
}
MOMENT = to_milliseconds(NOW)


def body(state: State, **changes: Any) -> bytes:  # noqa: ANN401
    """What is sent for a subject in this state."""
    finished = NOW if state in {State.SUCCEEDED, State.FAILED, State.CANCELED} else None
    subject = make_subject(state=state, finished_at=finished, **changes)
    return callback_body(json.loads(subject_event(subject).body)["data"], subject)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.QUEUED, "submitted"),
        (State.SUBMITTED, "submitted"),
        (State.PROCESSING, "processing"),
    ],
)
def test_an_unfinished_subject_is_a_task_in_the_words_of_the_provider(
    state: State, word: str
) -> None:
    assert json.loads(body(state, external_task_id="mine")) == {
        "task_id": "sub_00000000000000000000000001",
        "task_status": word,
        "task_status_msg": "",
        "task_info": {"external_task_id": "mine"},
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }


def test_a_finished_subject_has_what_was_made_and_what_it_cost() -> None:
    record = json.loads(body(State.SUCCEEDED, result=RESULT))
    assert record["task_status"] == "succeed"
    assert record["final_unit_deduction"] == "2"
    assert record["task_info"] == {"external_task_id": ""}
    assert record["task_result"] == {
        "elements": [
            {
                "element_id": 770000000000000001,
                "element_name": "Ada",
                "element_description": "a test",
                "reference_type": "image_refer",
                "element_voice_info": {"voice_id": "v1", "voice_name": "a voice"},
                "tag_list": RESULT["tags"],
                "owned_by": "them",
                "status": "succeed",
                "element_image_list": None,
                "element_video_list": None,
            }
        ]
    }


def test_a_failed_subject_has_its_reason_and_a_canceled_one_that_it_was() -> None:
    failed = json.loads(body(State.FAILED, error={"code": "provider_failed", "message": "no face"}))
    assert (failed["task_status"], failed["task_status_msg"]) == ("failed", "no face")
    canceled = json.loads(body(State.CANCELED))
    assert (canceled["task_status"], canceled["task_status_msg"]) == ("failed", "canceled")
    assert "task_result" not in failed | canceled


def test_every_state_has_a_word() -> None:
    assert set(STATUS_OF_STATE) == set(State)
    on_the_way = (State.SUBMITTING, State.UNCONFIRMED)
    assert {STATUS_OF_STATE[state] for state in on_the_way} == {"submitted"}


def test_an_event_reads_as_its_subject_does_now_to_the_millisecond() -> None:
    made = make_subject(
        state=State.SUCCEEDED,
        result=RESULT,
        created_at=NOW + timedelta(microseconds=1999),
        updated_at=NOW + timedelta(microseconds=987654),
        finished_at=NOW + timedelta(microseconds=987654),
    )
    representation = json.loads(subject_event(made).body)["data"]
    assert callback_body(representation, made) == orjson.dumps(task_record(made))
    assert (task_record(made)["created_at"], task_record(made)["updated_at"]) == (
        MOMENT + 1,
        MOMENT + 987,
    )


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("7", b"7"),
        ("770000000000000001", b"770000000000000001"),
        ("9223372036854775807", b"9223372036854775807"),
        ("99999999999999999999", b"99999999999999999999"),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ("007", b'"007"'),
        ("elm_1", b'"elm_1"'),
    ],
)
def test_an_element_id_is_a_number_with_all_its_digits(stored: str, sent: bytes) -> None:
    made = body(State.SUCCEEDED, result=RESULT | {"element_id": stored})
    assert b'"element_id":' + sent + b"," in made


def test_what_is_sent_reads_as_what_the_provider_said() -> None:
    made = body(State.SUCCEEDED, result=RESULT, external_task_id="mine")
    report = read_callback(made)
    assert (report.provider_task_id, report.external_task_id, report.status) == (
        "sub_00000000000000000000000001",
        "mine",
        TaskStatus.SUCCEEDED,
    )
    assert report.result is not None
    assert RESULT.items() <= report.result.items()


def test_the_same_event_is_the_same_bytes() -> None:
    assert body(State.SUCCEEDED, result=RESULT) == body(State.SUCCEEDED, result=RESULT)


URLS = {"frontal_image": "https://a/1", "refer_images": [{"image_url": "https://a/2"}]}
INLINE = {"frontal_image": {"media": "0" * 64}, "refer_images": [{"image_url": "https://a/2"}]}
THEIRS = {"frontal_image": "https://p/1", "refer_images": [{"image_url": "https://p/2"}]}
ECHO = {"frontal_image": "iVBORw0KGgo=", "refer_images": [{"image_url": "iVBORw0KGgo="}]}


@pytest.mark.parametrize(
    ("given", "made", "sent"),
    [
        (URLS, None, URLS),
        (INLINE, None, {"refer_images": [{"image_url": "https://a/2"}]}),
        ({"frontal_image": {"media": "0" * 64}, "refer_images": []}, None, None),
        (URLS, THEIRS, THEIRS),
        (INLINE, THEIRS, THEIRS),
        (URLS, ECHO, URLS),
    ],
)
def test_media_are_named_by_the_providers_urls_else_by_the_callers_and_never_in_base64(
    given: object, made: object, sent: object
) -> None:
    document = {**make_subject().document, "element_image_list": given}
    result = RESULT | ({} if made is None else {"element_image_list": made})
    record = json.loads(body(State.SUCCEEDED, document=document, result=result))
    (element,) = record["task_result"]["elements"]
    assert element["element_image_list"] == sent
    assert element["element_video_list"] is None


def test_a_video_is_named_by_its_url() -> None:
    video_list = {"refer_videos": [{"video_url": "https://a/1.mp4"}]}
    document = {**make_subject().document, "element_video_list": video_list}
    record = json.loads(body(State.SUCCEEDED, document=document, result=RESULT))
    assert record["task_result"]["elements"][0]["element_video_list"] == video_list


def test_the_public_subject_does_not_name_media() -> None:
    subject = make_subject(state=State.SUCCEEDED, result=RESULT | {"element_image_list": THEIRS})
    assert public_subject(subject)["subject"] == RESULT
