"""Every limit of rules P10 to P25, a row for each side of it, with real bytes.

Videos, which are checked behind their URLs, have their table in media/test_video.py.
"""

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from service.intake.domain.request_rules import TAGS
from service.kit.errors import Invalid
from tests.support.request_bodies import (
    IMAGE_URL,
    PNG_BASE64,
    check,
    field_errors,
    image_list,
    image_url_body,
    picture,
    video_url_body,
    without,
)

FRONTAL, SECOND = (
    "/element_image_list/frontal_image",
    "/element_image_list/refer_images/0/image_url",
)
MASK = "\U0001f3ad"  # one character, four bytes, two units of UTF-16


def inline(data: bytes, prefix: str = "") -> dict[str, Any]:
    """A request whose frontal image is this."""
    return image_url_body(
        element_image_list=image_list(prefix + base64.b64encode(data).decode(), f"{IMAGE_URL}?2")
    )


def video_body(count: int) -> dict[str, Any]:
    urls = [{"video_url": f"https://e.com/{number}.mp4"} for number in range(count)]
    return video_url_body(element_video_list={"refer_videos": urls})


def several(count: int) -> dict[str, Any]:
    return image_url_body(
        element_image_list=image_list(IMAGE_URL, *(f"{IMAGE_URL}?{n}" for n in range(count)))
    )


def size(width: int, height: int, kind: str = "PNG") -> dict[str, Any]:
    return inline(picture(kind, size=(width, height)))


def moving() -> bytes:
    out = io.BytesIO()
    frames = [Pillow.new("RGB", (300, 300), colour) for colour in ("red", "blue")]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


WHOLE = {kind: picture(kind) for kind in ("PNG", "JPEG")}
TABLE: list[tuple[int, str, dict[str, Any], tuple[str, str] | None]] = [
    # line, what, the request, and what is found: pointer and code
    (5, "no name", without(image_url_body(), "element_name"), ("/element_name", "required")),
    (5, "0 characters", image_url_body(element_name=""), ("/element_name", "blank")),
    (5, "1 character", image_url_body(element_name="x"), None),
    (5, "20 characters", image_url_body(element_name=MASK * 20), None),
    (5, "20 when composed", image_url_body(element_name="e\u0301" * 20), None),
    (5, "21 characters", image_url_body(element_name=MASK * 21), ("/element_name", "too_long")),
    (5, "a control", image_url_body(element_name="a\x1f"), ("/element_name", "control_character")),
    (5, "beside it", image_url_body(element_name="a\u00a0b"), None),
    (
        6,
        "no description",
        without(image_url_body(), "element_description"),
        ("/element_description", "required"),
    ),
    (6, "0 characters", image_url_body(element_description=""), ("/element_description", "blank")),
    (6, "1 character", image_url_body(element_description="x"), None),
    (6, "100 characters", image_url_body(element_description=MASK * 100), None),
    (
        6,
        "101 characters",
        image_url_body(element_description="x" * 101),
        ("/element_description", "too_long"),
    ),
    (7, "no kind", without(image_url_body(), "reference_type"), ("/reference_type", "required")),
    (7, "images", image_url_body(), None),
    (7, "a video", video_url_body(), None),
    (
        7,
        "another",
        image_url_body(reference_type="IMAGE_REFER"),
        ("/reference_type", "not_allowed"),
    ),
    (12, "0 others", several(0), ("/element_image_list/refer_images", "too_few")),
    (12, "1 other", several(1), None),
    (12, "3 others", several(3), None),
    (12, "4 others", several(4), ("/element_image_list/refer_images", "too_many")),
    (
        12,
        "the frontal once more",
        image_url_body(element_image_list=image_list(IMAGE_URL, IMAGE_URL)),
        (SECOND, "duplicate_image"),
    ),
    (
        12,
        "its content once more",
        image_url_body(
            element_image_list=image_list(PNG_BASE64, f"data:image/png;base64,{PNG_BASE64}")
        ),
        (SECOND, "duplicate_image"),
    ),
    (
        12,
        "another once more",
        image_url_body(element_image_list=image_list(PNG_BASE64, IMAGE_URL, IMAGE_URL)),
        None,
    ),
    (18, "Base64", inline(WHOLE["PNG"]), None),
    (18, "a data: URL", inline(WHOLE["JPEG"], "data:image/png;base64,"), None),
    (
        18,
        "neither",
        image_url_body(element_image_list=image_list("front.png", IMAGE_URL)),
        (FRONTAL, "image_not_base64"),
    ),
    *(
        (19, f"{kind}, {what}", inline(data), None if code is None else (FRONTAL, f"image_{code}"))
        for kind, real in WHOLE.items()
        for what, data, code in (
            ("whole", real, None),
            ("cut", real[:-1], "truncated"),
            ("10 MB", real.ljust(10_000_000, b"\0"), None),
            ("10 MB and a byte", real.ljust(10_000_001, b"\0"), "too_large"),
        )
    ),
    (19, "GIF", inline(picture("GIF")), (FRONTAL, "image_wrong_type")),
    (19, "WebP", inline(picture("WEBP")), (FRONTAL, "image_wrong_type")),
    (19, "moving", inline(moving()), (FRONTAL, "image_animated")),
    *(
        (19, f"{kind}, {wide} x {high}", size(wide, high, kind), (FRONTAL, code) if code else None)
        for kind in WHOLE
        for wide, high, code in (
            (300, 300, None),
            (299, 300, "image_too_small"),
            (300, 299, "image_too_small"),
            (300, 750, None),
            (750, 300, None),
            (300, 751, "image_ratio"),
            (751, 300, "image_ratio"),
        )
    ),
    (
        20,
        "no images",
        without(image_url_body(), "element_image_list"),
        ("/element_image_list", "required"),
    ),
    (
        24,
        "no video",
        without(video_url_body(), "element_video_list"),
        ("/element_video_list", "required"),
    ),
    (24, "a video beside images", image_url_body(element_video_list=None), None),
    (24, "images beside a video", video_url_body(element_image_list=None), None),
    (25, "0 videos", video_body(0), ("/element_video_list/refer_videos", "too_few")),
    (25, "1 video", video_body(1), None),
    (25, "2 videos", video_body(2), ("/element_video_list/refer_videos", "too_many")),
    (
        25,
        "an empty URL",
        video_url_body(element_video_list={"refer_videos": [{"video_url": ""}]}),
        ("/element_video_list/refer_videos/0/video_url", "url_scheme"),
    ),
    (31, "an empty voice", image_url_body(element_voice_id=""), None),
    (33, "a voice for a video", video_url_body(element_voice_id="1"), None),
    (
        33,
        "a voice for images",
        image_url_body(element_voice_id="1"),
        ("/element_voice_id", "voice_needs_video"),
    ),
    *((35, tag, image_url_body(tag_list=[{"tag_id": tag}] * 2), None) for tag in TAGS),
    (
        35,
        "o_100",
        image_url_body(tag_list=[{"tag_id": "o_100"}]),
        ("/tag_list/0/tag_id", "not_allowed"),
    ),
    (
        35,
        "o_109",
        image_url_body(tag_list=[{"tag_id": "o_109"}]),
        ("/tag_list/0/tag_id", "not_allowed"),
    ),
    (36, "http", image_url_body(callback_url="http://e.com/"), None),
    (
        36,
        "another scheme",
        image_url_body(callback_url="ws://e.com"),
        ("/callback_url", "url_scheme"),
    ),
    (36, "no host", image_url_body(callback_url="/relative"), ("/callback_url", "url_scheme")),
    (37, "0 characters", image_url_body(external_task_id=""), ("/external_task_id", "too_short")),
    (37, "1 character", image_url_body(external_task_id="!"), None),
    (37, "256 characters", image_url_body(external_task_id="~" * 256), None),
    (
        37,
        "257 characters",
        image_url_body(external_task_id="x" * 257),
        ("/external_task_id", "too_long"),
    ),
    (37, "a space", image_url_body(external_task_id="a b"), None),
    (37, "no ASCII", image_url_body(external_task_id="ä"), None),
    (
        37,
        "a line end",
        image_url_body(external_task_id="a\n"),
        ("/external_task_id", "control_character"),
    ),
    (4, "no such field", image_url_body(callback="http://e.com"), ("/callback", "unknown_field")),
]


@pytest.mark.parametrize(
    ("body", "found"),
    [row[2:] for row in TABLE],
    ids=[f"line {line}: {what}" for line, what, *_ in TABLE],
)
def test_both_sides_of_every_limit(body: dict[str, Any], found: tuple[str, str] | None) -> None:
    if found is None:
        assert check(body).document
    else:
        assert field_errors(body) == [found]


OPTIONAL = ("element_voice_id", "tag_list", "callback_url", "external_task_id")


@pytest.mark.parametrize("name", [*image_url_body(), *OPTIONAL])
@pytest.mark.parametrize("value", [True, 1, 1.5])
def test_nothing_else_stands_for_a_text_or_a_list(name: str, value: object) -> None:
    assert field_errors(image_url_body(**{name: value})) == [(f"/{name}", "wrong_type")]


@pytest.mark.parametrize("whole", [image_url_body(), video_url_body()])
def test_a_field_that_is_null_is_left_out(whole: dict[str, Any]) -> None:
    lists = ("element_image_list", "element_video_list")
    nulls = dict.fromkeys([*OPTIONAL, *lists])
    read = check(nulls | whole)
    assert read == check(whole)
    assert read.fingerprint == check(whole).fingerprint
    assert read.warnings == ()
    for name in whole:
        assert field_errors(whole | {name: None}) == [(f"/{name}", "required")]


def test_a_null_inside_a_list_of_media_or_tags_is_nothing_given() -> None:
    frontal = image_url_body(element_image_list={"frontal_image": None, "refer_images": None})
    at = "/element_image_list"
    assert field_errors(frontal) == [
        (f"{at}/frontal_image", "required"),
        (f"{at}/refer_images", "required"),
    ]
    tags = image_url_body(tag_list=[{"tag_id": None}, None])
    assert field_errors(tags) == [("/tag_list/0/tag_id", "required"), ("/tag_list/1", "wrong_type")]


def test_an_empty_text_breaks_the_rule_of_its_field_but_for_the_voice() -> None:
    assert check(video_url_body(element_voice_id="")) == check(video_url_body())
    for name in ("element_name", "callback_url", "external_task_id"):
        assert [at for at, _ in field_errors(image_url_body(**{name: ""}))] == [f"/{name}"]


@pytest.mark.parametrize(
    ("body", "pointer", "near"),
    [
        (image_url_body(element_nam="x"), "/element_nam", "element_name"),
        (
            image_url_body(
                element_image_list=image_list(IMAGE_URL, f"{IMAGE_URL}?2") | {"frontal": 1}
            ),
            "/element_image_list/frontal",
            "frontal_image",
        ),
        (
            video_url_body(
                element_video_list={
                    "refer_videos": [{"video_url": IMAGE_URL, "videoUrl": IMAGE_URL}]
                }
            ),
            "/element_video_list/refer_videos/0/videoUrl",
            "video_url",
        ),
        (image_url_body(tag_list=[{"tag_id": "o_101", "tagid": 1}]), "/tag_list/0/tagid", "tag_id"),
    ],
)
def test_an_unknown_field_is_refused_by_name_wherever_it_stands(
    body: dict[str, Any], pointer: str, near: str
) -> None:
    with pytest.raises(Invalid) as raised:
        check(body)
    [error] = raised.value.errors
    assert (error.pointer, error.code) == (pointer, "unknown_field")
    assert error.message == f"{pointer[1:]} is not a known field; did you mean {near}?"


def spoilt(real: bytes) -> st.SearchStrategy[bytes]:
    """With a byte that is another, or missing."""
    return st.builds(
        lambda at, byte: real[:at] + byte + real[at + 1 :],
        st.integers(0, len(real)),
        st.binary(max_size=1),
    )


@given(st.binary() | st.sampled_from([*WHOLE.values()]).flatmap(spoilt))
def test_any_bytes_in_base64_are_an_image_or_a_finding_about_it(data: bytes) -> None:
    try:
        assert list(check(inline(data)).inline_images.values()) == [data]
    except Invalid as invalid:
        assert {error.pointer for error in invalid.errors} == {FRONTAL}  # noqa: PT017
