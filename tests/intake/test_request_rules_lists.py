"""The three lists of a request: images, videos, tags."""

import base64
from typing import Any

import pytest

from tests.support.request_bodies import (
    IMAGE_URL,
    JPEG_BASE64,
    JPEG_IMAGE,
    PNG_BASE64,
    PNG_IMAGE,
    check,
    field_errors,
    image_list,
    image_url_body,
    picture,
    video_url_body,
    without,
)

FIRST, SECOND = (f"/refer_images/{n}/image_url" for n in (0, 1))


@pytest.mark.parametrize(
    ("body", "name"),
    [(image_url_body(), "element_image_list"), (video_url_body(), "element_video_list")],
)
def test_each_kind_requires_its_own_list(body: dict[str, Any], name: str) -> None:
    assert field_errors(without(body, name)) == [(f"/{name}", "required")]


def test_the_list_of_the_other_kind_is_ignored_unread_and_reported() -> None:
    for body, name in (
        (image_url_body(element_video_list={"anything": 1}), "element_video_list"),
        (video_url_body(element_image_list=[PNG_BASE64]), "element_image_list"),
    ):
        request = check(body)
        assert name not in request.document
        assert request.inline_images == {}
        [warning] = request.warnings
        assert (warning.pointer, warning.code) == (f"/{name}", "ignored")
        assert (
            warning.message == f"{name} is ignored when reference_type is {body['reference_type']}"
        )


def test_with_no_usable_kind_both_lists_are_read() -> None:
    kinds: list[object] = ["image", None, [], {}]
    for kind in kinds:
        body = image_url_body(reference_type=kind, element_image_list=1, element_video_list=2)
        assert [pointer for pointer, _ in field_errors(body)] == [
            "/reference_type",
            "/element_image_list",
            "/element_video_list",
        ]


def test_one_to_three_further_images_are_taken() -> None:
    for count, code in ((0, "too_few"), (1, None), (3, None), (4, "too_many")):
        body = image_url_body(
            element_image_list=image_list(IMAGE_URL, *(f"{IMAGE_URL}?{n}" for n in range(count)))
        )
        if code:
            assert field_errors(body) == [("/element_image_list/refer_images", code)]
        else:
            assert check(body).document == body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], [("", "wrong_type")]),
        ({}, [("/frontal_image", "required"), ("/refer_images", "required")]),
        ({"frontal_image": IMAGE_URL}, [("/refer_images", "required")]),
        ({"refer_images": [{"image_url": IMAGE_URL}]}, [("/frontal_image", "required")]),
        ({"frontal_image": IMAGE_URL, "refer_images": {}}, [("/refer_images", "wrong_type")]),
        (
            {"frontal_image": IMAGE_URL, "refer_images": [IMAGE_URL]},
            [("/refer_images/0", "wrong_type")],
        ),
        (
            {"frontal_image": IMAGE_URL, "refer_images": [{"url": IMAGE_URL + "2"}]},
            [("/refer_images/0/url", "unknown_field"), (FIRST, "required")],
        ),
        (image_list(None, 7), [("/frontal_image", "required"), (FIRST, "wrong_type")]),
        (image_list("", PNG_BASE64), [("/frontal_image", "image_wrong_type")]),
        (image_list(IMAGE_URL, IMAGE_URL), [(FIRST, "duplicate_image")]),
        (image_list(IMAGE_URL, "http://e.com/0", IMAGE_URL), [(SECOND, "duplicate_image")]),
        (
            image_list(IMAGE_URL, IMAGE_URL, IMAGE_URL),
            [(FIRST, "duplicate_image"), (SECOND, "duplicate_image")],
        ),
        (image_list(PNG_BASE64, "data:;base64," + PNG_BASE64), [(FIRST, "duplicate_image")]),
        (image_list("http://", PNG_BASE64), [("/frontal_image", "url_host")]),
        (image_list("Ã©", PNG_BASE64), [("/frontal_image", "image_not_base64")]),
        (image_list("QUJ", PNG_BASE64), [("/frontal_image", "image_not_base64")]),
        (
            image_list("data:image/png," + PNG_BASE64, PNG_BASE64),
            [("/frontal_image", "image_not_base64")],
        ),
        (image_list(PNG_BASE64[:-8], JPEG_BASE64), [("/frontal_image", "image_truncated")]),
    ],
)
def test_what_an_image_list_may_not_be(value: object, expected: list[tuple[str, str]]) -> None:
    assert field_errors(image_url_body(element_image_list=value)) == [
        (f"/element_image_list{place}", code) for place, code in expected
    ]


@pytest.mark.parametrize(
    "once_more", [(IMAGE_URL, IMAGE_URL), (JPEG_BASE64, f"data:;base64,{JPEG_BASE64}")]
)
def test_two_further_images_that_are_the_same_are_taken_with_a_warning(
    once_more: tuple[str, str],
) -> None:
    request = check(image_url_body(element_image_list=image_list(PNG_BASE64, *once_more)))
    (warning,) = request.warnings
    at = "element_image_list" + FIRST
    assert (warning.pointer, warning.code) == (f"/element_image_list{SECOND}", "duplicate_image")
    assert warning.message == f"element_image_list{SECOND} is the same as {at}"
    first, second = request.document["element_image_list"]["refer_images"]  # type: ignore[index]
    assert first == second


def test_an_image_in_base64_is_kept_by_its_content_and_its_bytes_apart() -> None:
    request = check(
        image_url_body(element_image_list=image_list(PNG_BASE64, JPEG_BASE64, IMAGE_URL))
    )
    red, blue = request.inline_images
    assert request.inline_images == {red: PNG_IMAGE, blue: JPEG_IMAGE}
    assert request.document["element_image_list"] == {
        "frontal_image": {"media": red},
        "refer_images": [{"image_url": {"media": blue}}, {"image_url": IMAGE_URL}],
    }
    assert PNG_BASE64 not in repr(request)
    assert repr(PNG_IMAGE)[2:50] not in repr(request)


@pytest.mark.parametrize(
    "spelt",
    [
        f"data:image/png;base64,{PNG_BASE64}",
        f"DATA:image/jpeg;charset=x;BASE64,{PNG_BASE64}",
        f"data:;base64,{PNG_BASE64}",
        base64.encodebytes(PNG_IMAGE).decode(),
        f" {PNG_BASE64}\r\n\t",
    ],
)
def test_the_spelling_of_base64_makes_no_difference(spelt: str) -> None:
    plain = check(image_url_body(element_image_list=image_list(PNG_BASE64, IMAGE_URL)))
    other = check(image_url_body(element_image_list=image_list(spelt, IMAGE_URL)))
    assert plain == other
    assert plain.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (picture(size=(299, 300)), "image_too_small"),
        (picture("JPEG", size=(300, 751)), "image_ratio"),
        (picture("GIF"), "image_wrong_type"),
        (PNG_IMAGE.ljust(10_000_000, b"\0"), None),
        (PNG_IMAGE.ljust(10_000_001, b"\0"), "image_too_large"),
        (PNG_IMAGE.ljust(10_000_003, b"\0"), "image_too_large"),
        (PNG_IMAGE.ljust(30_000_000, b"\0"), "image_too_large"),
    ],
)
def test_an_image_in_base64_is_judged_by_its_bytes(data: bytes, code: str | None) -> None:
    body = image_url_body(element_image_list=image_list(IMAGE_URL, base64.b64encode(data).decode()))
    if code:
        assert field_errors(body) == [("/element_image_list/refer_images/0/image_url", code)]
    else:
        assert list(check(body).inline_images.values()) == [data]


@pytest.mark.parametrize(
    ("value", "place", "code"),
    [
        ("http://e.com/a.mp4", "", "wrong_type"),
        ({}, "/refer_videos", "required"),
        ({"refer_videos": []}, "/refer_videos", "too_few"),
        ({"refer_videos": [{"video_url": IMAGE_URL}] * 2}, "/refer_videos", "too_many"),
        ({"refer_videos": [{}]}, "/refer_videos/0/video_url", "required"),
        ({"refer_videos": [{"video_url": ""}]}, "/refer_videos/0/video_url", "url_scheme"),
        (
            {"refer_videos": [{"video_url": PNG_BASE64 * 9}]},
            "/refer_videos/0/video_url",
            "url_too_long",
        ),
        ({"refer_videos": [{"video_url": "AAAA"}]}, "/refer_videos/0/video_url", "url_scheme"),
        ({"refer_videos": [{"video_url": None}]}, "/refer_videos/0/video_url", "required"),
    ],
)
def test_what_a_video_list_may_not_be(value: object, place: str, code: str) -> None:
    body = video_url_body(element_video_list=value)
    assert field_errors(body) == [(f"/element_video_list{place}", code)]


def test_every_tag_of_the_document_is_taken_and_repeats_are_folded() -> None:
    tags = [{"tag_id": f"o_{number}"} for number in range(101, 109)]
    assert check(image_url_body(tag_list=tags)).document["tag_list"] == tags
    assert check(image_url_body(tag_list=tags * 12)).document["tag_list"] == tags
    assert check(image_url_body(tag_list=[])).document == image_url_body()


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
    assert field_errors(image_url_body(tag_list=value)) == [(f"/tag_list{place}", code)]
