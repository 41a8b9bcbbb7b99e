"""What is said to the provider, and to callers in its words."""

import base64
from typing import Any

import pytest

from service.core.lifecycle import State
from service.core.messages import (
    OUR_STATES,
    create_body,
    older_record,
    read_record,
)
from service.core.request_rules import check
from tests.core.bodies import RED, RED64, URL, image_body, images, video_body
from tests.core.records import ELEMENT, RESULT


def test_the_provider_gets_the_document_with_our_id_and_bare_base64() -> None:
    given_images = images(f"data:image/png;base64,{RED64}", URL)
    request = check(
        image_body(
            element_image_list=given_images,
            external_task_id="theirs",
            callback_url="http://theirs.example.com",
            tag_list=[{"tag_id": "o_101"}],
        )
    )
    body = create_body(
        request.document,
        request.inline,
        external_task_id="sub_1",
        callback_url="https://ours.example.com/callbacks/t",
    )
    assert body == {
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "reference_type": "image_refer",
        "element_image_list": images(RED64, URL),
        "tag_list": [{"tag_id": "o_101"}],
        "external_task_id": "sub_1",
        "callback_url": "https://ours.example.com/callbacks/t",
    }
    assert base64.b64decode(body["element_image_list"]["frontal_image"]) == RED


def test_the_provider_gets_a_video_by_its_url() -> None:
    document = check(video_body()).document
    body = create_body(document, {}, external_task_id="s", callback_url="u")
    assert body == video_body(external_task_id="s", callback_url="u")


def subject(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "id": "sub_1",
        "external_task_id": "theirs",
        "state": "succeeded",
        "reference_type": "video_refer",
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "subject": RESULT,
        "error": None,
        "created_at": "2026-06-10T08:39:38.802Z",
        "updated_at": "2026-06-10T08:39:54.151Z",
    } | changes


def test_our_subject_reads_as_the_providers_older_record() -> None:
    assert older_record(subject()) == {
        "task_id": "sub_1",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": "theirs"},
        "created_at": 1781080778802,
        "updated_at": 1781080794151,
        "task_result": {
            "elements": [
                {key: value for key, value in ELEMENT.items() if key != "element_image_list"}
            ]
        },
        "final_unit_deduction": "1.5",
    }


def test_what_we_write_in_the_older_shape_we_read_back() -> None:
    report = read_record(older_record(subject()))
    assert report.result == RESULT
    assert (report.provider_task_id, report.external_task_id) == ("sub_1", "theirs")


@pytest.mark.parametrize(
    ("state", "word", "message"),
    [
        ("queued", "submitted", ""),
        ("submitting", "submitted", ""),
        ("unconfirmed", "submitted", ""),
        ("submitted", "submitted", ""),
        ("processing", "processing", ""),
        ("failed", "failed", "no face found"),
        ("canceled", "failed", "canceled"),
    ],
)
def test_every_state_of_ours_reads_as_a_word_of_theirs(state: str, word: str, message: str) -> None:
    error = {"code": "provider_failed", "message": "no face found"} if state == "failed" else None
    record = older_record(subject(state=state, subject=None, error=error, external_task_id=None))
    assert (record["task_status"], record["task_status_msg"]) == (word, message)
    assert record["task_info"] == {"external_task_id": ""}
    assert "task_result" not in record
    assert "final_unit_deduction" not in record


def test_no_state_of_ours_is_without_a_word() -> None:
    assert set(OUR_STATES) == set(State)


@pytest.mark.parametrize("element_id", ["x1", "007", "9" * 19])
def test_an_id_that_no_number_holds_stays_text(element_id: str) -> None:
    record = older_record(subject(subject={"element_id": element_id}))
    [element] = record["task_result"]["elements"]
    assert element["element_id"] == element_id
    assert "final_unit_deduction" not in record
