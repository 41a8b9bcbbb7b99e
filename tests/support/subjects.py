"""Values that tests begin with."""

import base64
import io
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import Image, ImageDraw

from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def a_subject(**changes: Any) -> Subject:  # noqa: ANN401
    """A queued image subject, but for the changes."""
    values: dict[str, Any] = {
        "id": "sub_00000000000000000000000001",
        "account_id": "acc_1",
        "external_task_id": None,
        "fingerprint": "f",
        "document": {
            "element_name": "Ada",
            "element_description": "a test",
            "reference_type": "image_refer",
        },
        "state": State.QUEUED,
        "version": 1,
        "provider_task_id": None,
        "provider_updated_at": None,
        "result": None,
        "error": None,
        "lease_token": None,
        "lease_until": None,
        "attempts": 0,
        "claimed_at": None,
        "available_at": NOW,
        "poll_count": 0,
        "next_poll_at": None,
        "deadline": NOW + timedelta(days=1),
        "callback_subscriber_id": None,
        "created_at": NOW,
        "updated_at": NOW,
        "finished_at": None,
    }
    return Subject(**(values | changes))


def picture(kind: str = "JPEG", shade: int = 0, size: tuple[int, int] = (320, 320)) -> bytes:
    """A real, small picture; another `shade` gives another one."""
    image = Image.new("RGB", size, (shade % 256, 90, 160))
    ImageDraw.Draw(image).ellipse((40, 40, 280, 280), fill=(240, shade % 256, 60))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def a_request(name: str = "Ada", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A create-subject body with two Base64 images, but for the changes."""
    frontal, refer = (base64.b64encode(picture(shade=shade)).decode() for shade in (10, 200))
    body: dict[str, Any] = {
        "element_name": name,
        "element_description": "somebody in a test",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": frontal, "refer_images": [{"image_url": refer}]},
        "tag_list": [{"tag_id": "o_102"}],
    }
    return body | changes
