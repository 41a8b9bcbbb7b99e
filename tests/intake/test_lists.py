"""The three lists of a request: images, videos, tags."""

import base64
from typing import Any

import pytest

from tests.support.request_bodies import (
    BLUE,
    BLUE64,
    RED,
    RED64,
    URL,
    check,
    field_errors,
    image_body,
    images,
    picture,
    video_body,
    without,
)

FIRST, SECOND = (f"/refer_images/{n}/image_url" for n in (0, 1))


@pytest.mark.parametrize(
    ("body", "name"),
    [(image_body(), "element_image_list"), (video_body(), "element_video_list")],
)
def test_each_kind_requires_its_own_list(body: dict[str, Any], name: str) -> None:
    assert field_errors(without(body, name)) == [(f"/{name}", "required")]


def test_the_list_of_the_other_kind_is_ignored_unread_and_reported() -> None:
    for body, name in (
        (image_body(element_video_list={"anything": 1}), "element_video_list"),
        (video_body(element_image_list=[RED64]), "element_image_list"),
    ):
        request = check(body)
        assert name not in request.document
        assert request.inline == {}
        [warning] = request.warnings
        assert (warning.pointer, warning.code) == (f"/{name}", "ignored")
        assert (
            warning.message == f"{name} is ignored when reference_type is {body['reference_type']}"
        )


def test_with_no_usable_kind_both_lists_are_read() -> None:
    kinds: list[object] = ["image", None, [], {}]
    for kind in kinds:
        body = image_body(reference_type=kind, element_image_list=1, element_video_list=2)
        assert [pointer for pointer, _ in field_errors(body)] == [
            "/reference_type",
            "/element_image_list",
            "/element_video_list",
        ]


def test_one_to_three_further_images_are_taken() -> None:
    for count, code in ((0, "too_few"), (1, None), (3, None), (4, "too_many")):
        body = image_body(element_image_list=images(URL, *(f"{URL}?{n}" for n in range(count))))
        if code:
            assert field_errors(body) == [("/element_image_list/refer_images", code)]
        else:
            assert check(body).document == body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], [("", "wrong_type")]),
        ({}, [("/frontal_image", "required"), ("/refer_images", "required")]),
        ({"frontal_image": URL}, [("/refer_images", "required")]),
        ({"refer_images": [{"image_url": URL}]}, [("/frontal_image", "required")]),
        ({"frontal_image": URL, "refer_images": {}}, [("/refer_images", "wrong_type")]),
        ({"frontal_image": URL, "refer_images": [URL]}, [("/refer_images/0", "wrong_type")]),
        (
            {"frontal_image": URL, "refer_images": [{"url": URL + "2"}]},
            [("/refer_images/0/url", "unknown_field"), (FIRST, "required")],
        ),
        (images(None, 7), [("/frontal_image", "required"), (FIRST, "wrong_type")]),
        (images("", RED64), [("/frontal_image", "image_wrong_type")]),
        (images(URL, URL), [(FIRST, "duplicate_image")]),
        (images(URL, "http://e.com/0", URL), [(SECOND, "duplicate_image")]),
        (images(URL, URL, URL), [(FIRST, "duplicate_image"), (SECOND, "duplicate_image")]),
        (images(RED64, "data:;base64," + RED64), [(FIRST, "duplicate_image")]),
        (images("http://", RED64), [("/frontal_image", "url_host")]),
        (images("Ã©", RED64), [("/frontal_image", "image_not_base64")]),
        (images("QUJ", RED64), [("/frontal_image", "image_not_base64")]),
        (images("data:image/png," + RED64, RED64), [("/frontal_image", "image_not_base64")]),
        (images(RED64[:-8], BLUE64), [("/frontal_image", "image_truncated")]),
    ],
)
def test_what_an_image_list_may_not_be(value: object, expected: list[tuple[str, str]]) -> None:
    assert field_errors(image_body(element_image_list=value)) == [
        (f"/element_image_list{place}", code) for place, code in expected
    ]


@pytest.mark.parametrize("once_more", [(URL, URL), (BLUE64, f"data:;base64,{BLUE64}")])
def test_two_further_images_that_are_the_same_are_taken_with_a_warning(
    once_more: tuple[str, str],
) -> None:
    request = check(image_body(element_image_list=images(RED64, *once_more)))
    (warning,) = request.warnings
    at = "element_image_list" + FIRST
    assert (warning.pointer, warning.code) == (f"/element_image_list{SECOND}", "duplicate_image")
    assert warning.message == f"element_image_list{SECOND} is the same as {at}"
    first, second = request.document["element_image_list"]["refer_images"]  # type: ignore[index]
    assert first == second


def test_an_image_in_base64_is_kept_by_its_content_and_its_bytes_apart() -> None:
    request = check(image_body(element_image_list=images(RED64, BLUE64, URL)))
    red, blue = request.inline
    assert request.inline == {red: RED, blue: BLUE}
    assert request.document["element_image_list"] == {
        "frontal_image": {"media": red},
        "refer_images": [{"image_url": {"media": blue}}, {"image_url": URL}],
    }
    assert RED64 not in repr(request)
    assert repr(RED)[2:50] not in repr(request)


@pytest.mark.parametrize(
    "spelt",
    [
        f"data:image/png;base64,{RED64}",
        f"DATA:image/jpeg;charset=x;BASE64,{RED64}",
        f"data:;base64,{RED64}",
        base64.encodebytes(RED).decode(),
        f" {RED64}\r\n\t",
    ],
)
def test_the_spelling_of_base64_makes_no_difference(spelt: str) -> None:
    plain = check(image_body(element_image_list=images(RED64, URL)))
    other = check(image_body(element_image_list=images(spelt, URL)))
    assert plain == other
    assert plain.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (picture(size=(299, 300)), "image_too_small"),
        (picture("JPEG", size=(300, 751)), "image_ratio"),
        (picture("GIF"), "image_wrong_type"),
        (RED.ljust(10_000_000, b"\0"), None),
        (RED.ljust(10_000_001, b"\0"), "image_too_large"),
        (RED.ljust(10_000_003, b"\0"), "image_too_large"),
        (RED.ljust(30_000_000, b"\0"), "image_too_large"),
    ],
)
def test_an_image_in_base64_is_judged_by_its_bytes(data: bytes, code: str | None) -> None:
    body = image_body(element_image_list=images(URL, base64.b64encode(data).decode()))
    if code:
        assert field_errors(body) == [("/element_image_list/refer_images/0/image_url", code)]
    else:
        assert list(check(body).inline.values()) == [data]


@pytest.mark.parametrize(
    ("value", "place", "code"),
    [
        ("http://e.com/a.mp4", "", "wrong_type"),
        ({}, "/refer_videos", "required"),
        ({"refer_videos": []}, "/refer_videos", "too_few"),
        ({"refer_videos": [{"video_url": URL}] * 2}, "/refer_videos", "too_many"),
        ({"refer_videos": [{}]}, "/refer_videos/0/video_url", "required"),
        ({"refer_videos": [{"video_url": ""}]}, "/refer_videos/0/video_url", "url_scheme"),
        ({"refer_videos": [{"video_url": RED64 * 9}]}, "/refer_videos/0/video_url", "url_too_long"),
        ({"refer_videos": [{"video_url": "AAAA"}]}, "/refer_videos/0/video_url", "url_scheme"),
        ({"refer_videos": [{"video_url": None}]}, "/refer_videos/0/video_url", "required"),
    ],
)
def test_what_a_video_list_may_not_be(value: object, place: str, code: str) -> None:
    body = video_body(element_video_list=value)
    assert field_errors(body) == [(f"/element_video_list{place}", code)]


def test_every_tag_of_the_document_is_taken_and_repeats_are_folded() -> None:
    tags = [{"tag_id": f"o_{number}"} for number in range(101, 109)]
    assert check(image_body(tag_list=tags)).document["tag_list"] == tags
    assert check(image_body(tag_list=tags * 12)).document["tag_list"] == tags
    assert check(image_body(tag_list=[])).document == image_body()


@pytest.mark.parametrize(
    ("value", "place", "code"),
    [
        ("o_101", "", "wrong_type"),
        (["o_101"], "/0", "wrong_type"),
        ([{"tag_id": "o_100"}], "/0/tag_id", "not_allowed"),
        ([{"tag_id": 101}], "/0/tag_id", "wrong_type"),
        ([{"tag_id": "o_101"}, {}], "/1/tag_id", "required"),
        ([{"tag_id": "o_101"}] * 101, "", "too_many"),
    ],
)
def test_what_a_tag_list_may_not_be(value: object, place: str, code: str) -> None:
    assert field_errors(image_body(tag_list=value)) == [(f"/tag_list{place}", code)]
