"""Bodies of create-subject requests for tests, and what is found wrong with them."""

import base64
import io
from functools import partial
from typing import Any

import pytest
from PIL import Image, ImageDraw

from service.intake.domain import request_rules
from service.kit.errors import Invalid

check = partial(request_rules.parse_request, account_id="acc_1")


def picture(kind: str = "JPEG", shade: int = 0, size: tuple[int, int] = (320, 320)) -> bytes:
    """A valid image file; another `shade` gives another picture."""
    image = Image.new("RGB", size, (shade % 256, 90, 160))
    ImageDraw.Draw(image).ellipse((40, 40, 280, 280), fill=(240, shade % 256, 60))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


PNG_IMAGE, JPEG_IMAGE = picture("PNG", shade=10), picture("JPEG", shade=200)
PNG_BASE64, JPEG_BASE64 = (base64.b64encode(data).decode() for data in (PNG_IMAGE, JPEG_IMAGE))
IMAGE_URL = "https://media.example.com/a.png"


def request_body(name: object = "Ada", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A valid create-subject body with two Base64 images; a change to None removes the field."""
    body: dict[str, Any] = {
        "element_name": name,
        "element_description": "somebody in a test",
        "reference_type": "image_refer",
        "element_image_list": image_list(JPEG_BASE64, PNG_BASE64),
        "tag_list": [{"tag_id": "o_102"}],
    }
    return {field: value for field, value in (body | changes).items() if value is not None}


def image_url_body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A valid create-subject body with two images by URL."""
    body = {
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "reference_type": "image_refer",
        "element_image_list": image_list(IMAGE_URL, "https://media.example.com/b.png"),
    }
    return body | changes


def image_list(frontal: object, *others: object) -> dict[str, object]:
    """The value of `element_image_list`."""
    return {"frontal_image": frontal, "refer_images": [{"image_url": image} for image in others]}


def video_url_body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A valid create-subject body with a video by URL."""
    body = {
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "reference_type": "video_refer",
        "element_video_list": {"refer_videos": [{"video_url": "http://media.example.com/a.mp4"}]},
    }
    return body | changes


def field_errors(body: object, *, allow_voice_for_images: bool = False) -> list[tuple[str, str]]:
    """The pointer and the code of each rule that the body breaks; it breaks one at least."""
    with pytest.raises(Invalid) as raised:
        check(body, allow_voice_for_images=allow_voice_for_images)
    for field_error in raised.value.errors:  # each message names the field, then the rule
        assert field_error.message.startswith(f"{field_error.pointer[1:] or 'the request'} ")
    return [(field_error.pointer, field_error.code) for field_error in raised.value.errors]


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The body without one of its fields."""
    return {key: value for key, value in body.items() if key != name}
