"""Fields that the provider's clients did not set, and unknown ones, count as not sent."""

from typing import Any

import pytest

from service.compat_api.domain.task_requests import KNOWN_FIELDS, drop_unset
from service.intake.domain import request_rules
from service.kit.errors import Invalid
from tests.support.request_bodies import check, request_body

UNSET: list[Any] = [None, "", [], {}]
VIDEO = {"refer_videos": [{"video_url": "https://example.com/a.mp4"}]}
A_VIDEO = request_body(
    reference_type="video_refer",
    element_image_list=None,
    element_video_list=VIDEO,
    element_voice_id="voice-1",
    tag_list=[{"tag_id": "o_101"}, {"tag_id": "o_102"}],
    callback_url="https://example.com/told",
    external_task_id="mine-1",
)
REQUIRED = ("element_name", "element_description", "reference_type")


def accepted(body: object) -> dict[str, object]:
    return check(drop_unset(body)).document


def test_each_field_of_the_rules_is_known() -> None:
    assert KNOWN_FIELDS.keys() == request_rules.READERS.keys()


@pytest.mark.parametrize("unset", UNSET)
@pytest.mark.parametrize(
    "name", sorted(request_rules.READERS.keys() - {*REQUIRED, "element_image_list"})
)
def test_an_unset_optional_field_is_dropped(name: str, unset: object) -> None:
    """Whatever is written in its place."""
    body = request_body()
    body.pop(name, None)
    assert accepted(body | {name: unset}) == accepted(body)


@pytest.mark.parametrize("unset", UNSET)
@pytest.mark.parametrize("name", [*REQUIRED, "element_image_list"])
def test_an_unset_required_field_is_reported(name: str, unset: object) -> None:
    with pytest.raises(Invalid) as refused:
        accepted(request_body() | {name: unset})
    assert [(error.pointer, error.code) for error in refused.value.errors] == [
        (f"/{name}", "required")
    ]


@pytest.mark.parametrize("unset", UNSET)
def test_unset_fields_inside_others_are_dropped_too(unset: Any) -> None:  # noqa: ANN401
    plain = accepted(request_body())
    images = request_body()["element_image_list"]
    more = [*images["refer_images"], unset, {"image_url": unset}, {"image_url": unset, "x": 1}]
    body = request_body(element_image_list=images | {"refer_images": more, "mask": unset})
    assert accepted(body) == plain
    tags = [unset, {"tag_id": unset}, {"tag_id": "o_103", "name": unset}, {"name": "meme"}]
    assert accepted(request_body(tag_list=tags)) == accepted(
        request_body(tag_list=[{"tag_id": "o_103"}])
    )
    nothing = request_body()
    nothing.pop("tag_list", None)
    assert accepted(nothing | {"tag_list": [{"tag_id": unset}]}) == accepted(nothing)
    videos = {"refer_videos": [unset, *VIDEO["refer_videos"], {"video_url": unset}]}
    assert accepted(A_VIDEO | {"element_video_list": videos}) == accepted(A_VIDEO)


@pytest.mark.parametrize("unset", UNSET)
def test_a_list_of_unset_entries_is_reported(unset: object) -> None:
    for images in (
        {"frontal_image": unset, "refer_images": unset},
        {"refer_images": [{"image_url": unset}]},
    ):
        with pytest.raises(Invalid) as refused:
            accepted(request_body(element_image_list=images))
        assert [error.pointer for error in refused.value.errors] == ["/element_image_list"]
    images = request_body()["element_image_list"] | {"refer_images": [{"image_url": unset}]}
    with pytest.raises(Invalid) as refused:
        accepted(request_body(element_image_list=images))
    pointers = [field_error.pointer for field_error in refused.value.errors]
    assert pointers == ["/element_image_list/refer_images"]


def test_unknown_fields_are_dropped_at_any_depth() -> None:
    strange = {"model_name": "kling-v1", "watermark_info": {"enabled": False}, "": 0}
    images = request_body()["element_image_list"]
    others = [image | strange for image in images["refer_images"]]
    body = request_body(element_image_list=images | {"refer_images": others} | strange) | strange
    assert accepted(body) == accepted(request_body())
    tags = [tag | strange | {"name": "meme"} for tag in A_VIDEO["tag_list"]]
    videos = {"refer_videos": [VIDEO["refer_videos"][0] | strange]} | strange
    body = A_VIDEO | {"tag_list": tags, "element_video_list": videos} | strange
    assert accepted(body) == accepted(A_VIDEO)


def test_fields_that_are_set_stay_as_they_are() -> None:
    assert drop_unset(A_VIDEO) == {
        name: value for name, value in A_VIDEO.items() if value is not None
    }
    assert drop_unset(request_body()) == request_body()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ("text", ""),
        (None, ""),
        (request_body(element_name=0), "/element_name"),
        (request_body(element_name=False), "/element_name"),
        (request_body(element_name=["Ada"]), "/element_name"),
        (request_body(element_image_list="x"), "/element_image_list"),
        (request_body(element_image_list=[{"frontal_image": "x"}]), "/element_image_list"),
        (request_body(tag_list={"tag_id": "o_101"}), "/tag_list"),
        (request_body(tag_list=["o_101"]), "/tag_list/0"),
        (request_body(tag_list=[{"tag_id": 101}]), "/tag_list/0/tag_id"),
        (request_body(callback_url=0), "/callback_url"),
    ],
)
def test_values_of_a_wrong_type_are_left_to_validation(body: object, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        accepted(body)
    assert pointer in {error.pointer for error in refused.value.errors}
