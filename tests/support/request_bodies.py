"""Bodies of create-subject requests for tests, and what is found wrong with them."""

import base64
import io
from functools import partial
from typing import Any

import pytest
from PIL import Image as Pillow

from service.intake.domain import request_rules
from service.kit.errors import Invalid

check = partial(request_rules.parse_request, account_id="acc_1")


def picture(kind: str = "PNG", colour: str = "red", size: tuple[int, int] = (300, 300)) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


RED, BLUE = picture(colour="red"), picture("JPEG", colour="blue")
RED64, BLUE64 = (base64.b64encode(data).decode() for data in (RED, BLUE))
URL = "https://media.example.com/a.png"


def image_body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    body = {
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "reference_type": "image_refer",
        "element_image_list": {
            "frontal_image": URL,
            "refer_images": [{"image_url": "https://media.example.com/b.png"}],
        },
    }
    return body | changes


def images(frontal: object, *others: object) -> dict[str, object]:
    return {"frontal_image": frontal, "refer_images": [{"image_url": one} for one in others]}


def video_body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    body = {
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "reference_type": "video_refer",
        "element_video_list": {"refer_videos": [{"video_url": "http://media.example.com/a.mp4"}]},
    }
    return body | changes


def field_errors(body: object, *, allow_voice_for_images: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as raised:
        check(body, allow_voice_for_images=allow_voice_for_images)
    for field_error in raised.value.errors:  # each names the field, and then the rule
        assert field_error.message.startswith(f"{field_error.pointer[1:] or 'the request'} ")
    return [(field_error.pointer, field_error.code) for field_error in raised.value.errors]


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}
