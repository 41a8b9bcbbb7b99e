"""Envelopes, error codes and records of the provider's own paths are as the provider's."""

import json
from typing import Any

import pytest

from service.compat_api.domain import envelopes
from service.kit.errors import (
    CallsheetError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from service.local.simulator import auth, codes
from service.local.simulator.codes import Refusal
from service.local.simulator.options import Options
from service.provider.domain.task_records import task_record
from service.subjects.domain.lifecycle import State
from tests.support.subjects import NOW, make_subject

RESULT = {"element_id": "770000000000000001", "tags": [{"id": "o_102", "name": "person"}]}
HEADERS = (None, "", "Bearer", "Bearer ", "Basic x", "x", "bearer x", "Bearer x", "Bearer  x y")


def record(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A succeeded subject's record, as a client reads it."""
    made = make_subject(
        **{"state": State.SUCCEEDED, "finished_at": NOW, "result": RESULT} | changes
    )
    data: dict[str, Any] = json.loads(envelopes.success_envelope("req_1", task_record(made)))[
        "data"
    ]
    return data


def element(**document: object) -> dict[str, Any]:
    """What was made, of a request with such media."""
    base = dict(make_subject().document)
    (made,) = record(document=base | document)["task_result"]["elements"]
    return dict(made)


def test_every_error_has_a_code_and_every_code_its_status() -> None:
    assert set(envelopes.ERROR_CODES) == set(CallsheetError.__subclasses__())
    assert set(envelopes.ERROR_CODES.values()) <= set(envelopes.HTTP_STATUS)
    assert envelopes.HTTP_STATUS.items() <= codes.STATUS_OF_CODE.items()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Malformed(), 1200),
        (Invalid([]), 1201),
        (NotFound(), 1201),
        (Conflict("taken"), 1201),
        (TooLarge(), 1201),
        (UnsupportedMedia(), 1201),
        (Forbidden(), 1103),
        (TooManyRequests("fast", "too_many_requests", 1), 1302),
        (TooManyRequests("full", "queue_full", 1), 1303),
        (Unavailable(), 5001),
    ],
)
def test_an_error_has_the_code_that_the_provider_has_for_it(
    error: CallsheetError, code: int
) -> None:
    assert envelopes.error_code(error) == code
    assert envelopes.error_message(error) == str(error) or isinstance(error, Invalid)


@pytest.mark.parametrize("header", HEADERS)
def test_a_key_that_is_missing_or_wrong_is_told_apart_as_the_provider_does(
    header: str | None,
) -> None:
    with pytest.raises(Refusal) as refused:
        auth.check(header, Options(api_key="k"), 0)
    assert envelopes.error_code(Unauthorized(), header) == refused.value.code


def test_a_message_has_every_field_error() -> None:
    errors = [FieldError("/a", "x", "a must be b"), FieldError("/c/0", "y", "c/0 must be d")]
    message = envelopes.error_message(Invalid(errors))
    assert message == "/a: a must be b; /c/0: c/0 must be d"


def test_an_envelope_has_data_only_if_it_went_well() -> None:
    assert json.loads(envelopes.success_envelope("req_1", [])) == {
        "code": 0,
        "message": "SUCCEED",
        "request_id": "req_1",
        "data": [],
    }
    assert json.loads(envelopes.error_envelope("req_2", 1201, "no")) == {
        "code": 1201,
        "message": "no",
        "request_id": "req_2",
    }


@pytest.mark.parametrize(
    "digits",
    ["7", "9007199254740993", "9223372036854775809", "123456789012345678901234567890"],
)
def test_an_element_id_is_a_number_with_all_its_digits(digits: str) -> None:
    (made,) = record(result=RESULT | {"element_id": digits})["task_result"]["elements"]
    assert made["element_id"] == int(digits)


def test_media_are_shown_by_the_urls_that_were_given_and_base64_is_left_out() -> None:
    images = {
        "frontal_image": {"media": "0" * 64},
        "refer_images": [{"image_url": "https://a/1"}, {"image_url": {"media": "1" * 64}}],
    }
    made = element(element_image_list=images)
    assert made["element_image_list"] == {"refer_images": [{"image_url": "https://a/1"}]}
    assert made["element_video_list"] is None
    made = element(element_image_list={"frontal_image": {"media": "0" * 64}, "refer_images": []})
    assert made["element_image_list"] is None
    videos = {"refer_videos": [{"video_url": "https://a/1.mp4"}]}
    made = element(element_video_list=videos, reference_type="video_refer")
    assert (made["element_image_list"], made["element_video_list"]) == (None, videos)


def test_a_create_is_answered_with_the_beginning_of_the_record() -> None:
    subject = make_subject(external_task_id="mine")
    shown = task_record(subject)
    assert envelopes.created_task(subject) == {
        name: value for name, value in shown.items() if name != "task_status_msg"
    }
    assert list(envelopes.created_task(subject)) == [
        "task_id",
        "task_info",
        "task_status",
        "created_at",
        "updated_at",
    ]


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_word_of_the_providers(state: State) -> None:
    ended = {State.SUCCEEDED, State.FAILED, State.CANCELED}
    shown = record(
        state=state,
        result=RESULT if state is State.SUCCEEDED else None,
        error={"code": "x", "message": "why"} if state is State.FAILED else None,
        finished_at=NOW if state in ended else None,
    )
    assert shown["task_status"] in {"submitted", "processing", "succeed", "failed"}
    assert ("task_result" in shown) == (state is State.SUCCEEDED)
