"""The rules of a create-subject request as a whole: every error at once, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.intake.domain import request_rules
from service.intake.domain.create_request import CreateRequest
from service.kit.errors import Invalid
from service.kit.validation import MAX_ERRORS
from tests.support.request_bodies import (
    IMAGE_URL,
    PNG_BASE64,
    check,
    field_errors,
    image_url_body,
    video_url_body,
    without,
)


def test_a_plain_request_is_kept_as_it_came() -> None:
    for body in (image_url_body(), video_url_body()):
        request = check(body)
        assert request.document == body
        assert request.inline_images == {}
        assert request.warnings == ()


def test_a_request_shows_its_parts() -> None:
    bare = check(image_url_body())
    assert (bare.external_task_id, bare.callback_url) == (None, None)
    tags = [{"tag_id": "o_102"}, {"tag_id": "o_101"}, {"tag_id": "o_102"}]
    full = check(image_url_body(tag_list=tags, external_task_id="x1", callback_url="http://e.com"))
    assert full.document["tag_list"] == [{"tag_id": "o_102"}, {"tag_id": "o_101"}]
    assert (full.external_task_id, full.callback_url) == ("x1", "http://e.com")


def test_everything_wrong_is_said_at_once() -> None:
    body = {
        "element_name": "x" * 21,
        "elemnt_description": "a typing mistake",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": "?", "refer_images": []},
        "element_voice_id": "829836",
        "tag_list": [{"tag_id": "o_109"}, {"id": "o_101"}],
        "callback_url": "/relative",
        "external_task_id": "",
    }
    assert field_errors(body) == [
        ("/elemnt_description", "unknown_field"),
        ("/element_description", "required"),
        ("/element_name", "too_long"),
        ("/element_image_list/frontal_image", "image_not_base64"),
        ("/element_image_list/refer_images", "too_few"),
        ("/tag_list/0/tag_id", "not_allowed"),
        ("/tag_list/1/id", "unknown_field"),
        ("/tag_list/1/tag_id", "required"),
        ("/callback_url", "url_scheme"),
        ("/external_task_id", "too_short"),
        ("/element_voice_id", "voice_needs_video"),
    ]


@pytest.mark.parametrize("name", ["element_name", "element_description", "reference_type"])
def test_the_three_texts_are_required(name: str) -> None:
    assert (f"/{name}", "required") in field_errors(without(image_url_body(), name))


@pytest.mark.parametrize(
    ("value", "code"),
    [("image_refer ", "not_allowed"), ("", "not_allowed"), (1, "wrong_type")],
)
def test_a_kind_is_one_of_two_words(value: object, code: str) -> None:
    assert field_errors(image_url_body(reference_type=value)) == [("/reference_type", code)]


def test_a_voice_belongs_to_a_video_subject_unless_a_setting_says_otherwise() -> None:
    voice = "829836802793406551"
    assert check(video_url_body(element_voice_id=voice)).document["element_voice_id"] == voice
    assert field_errors(image_url_body(element_voice_id=voice)) == [
        ("/element_voice_id", "voice_needs_video")
    ]
    allowed = check(image_url_body(element_voice_id=voice), allow_voice_for_images=True)
    assert allowed.document["element_voice_id"] == voice


def test_an_empty_voice_is_none_for_either_kind() -> None:
    for body in (image_url_body(element_voice_id=""), video_url_body(element_voice_id="")):
        assert "element_voice_id" not in check(body).document


@pytest.mark.parametrize("body", [None, True, 5, "text", [], [image_url_body()], b"{}"])
def test_a_request_is_an_object_and_nothing_more_is_said_when_it_is_none(body: object) -> None:
    assert field_errors(body) == [("", "wrong_type")]


def test_a_body_of_countless_mistakes_is_told_of_the_first_hundred() -> None:
    body: dict[str, object] = {f"field{number}": number for number in range(5000)}
    assert len(field_errors(body | {"tag_list": [0] * 5000})) == MAX_ERRORS


def test_the_fingerprint_is_over_the_meaning() -> None:
    body = image_url_body(tag_list=[{"tag_id": "o_101"}])
    again = json.loads(json.dumps(dict(reversed(body.items())), indent=3))
    again["tag_list"] *= 2
    again["element_name"] = "Mira"
    assert check(body).fingerprint == check(again).fingerprint
    assert len(check(body).fingerprint) == 64
    changed: tuple[tuple[str, object], ...]
    changed = (("element_name", "Mora"), ("callback_url", "http://e.com"), ("tag_list", []))
    for name, value in changed:
        assert check(body | {name: value}).fingerprint != check(body).fingerprint


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(
        [IMAGE_URL, PNG_BASE64, "image_refer", "video_refer", "data:x;base64,", "http://["]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                ["frontal_image", "refer_images", "image_url", "refer_videos", "tag_id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(request_rules.READERS, JSON)))
def test_any_body_is_a_request_or_invalid_and_nothing_else(body: object) -> None:
    try:
        assert isinstance(check(body), CreateRequest)
    except Invalid as invalid:
        assert invalid.errors  # noqa: PT017
        json.dumps([error.message + error.pointer for error in invalid.errors]).encode()


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(request_rules.READERS, JSON)))
def test_a_good_request_spoilt_anywhere_never_raises_anything_but_invalid(
    changes: dict[str, object],
) -> None:
    for good in (image_url_body(), video_url_body()):
        try:
            request = check(good | changes)
        except Invalid:
            continue
        assert check(good | changes) == request


def test_a_body_nested_without_end_is_refused_unread() -> None:
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert ("/tag_list/0", "wrong_type") in field_errors(image_url_body(tag_list=deep, x=deep))
