"""ALLOWED_PORTS holds wherever a URL is given; tests/delivery/test_ssrf.py has the dial."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.request_bodies import request_body

CLOSED = "http://127.0.0.1:22/"
VIDEO: dict[str, Any] = {
    "reference_type": "video_refer",
    "element_image_list": None,
    "element_video_list": {"refer_videos": [{"video_url": CLOSED}]},
}


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/subscribers", {"url": CLOSED}, "/url"),
        ("/v1/subscribers", {"url": "nats://127.0.0.1:22", "type": "nats", "channel": "a"}, "/url"),
        ("/v1/subjects", request_body(callback_url=CLOSED), "/callback_url"),
        ("/v1/subjects", request_body(**VIDEO), "/element_video_list/refer_videos/0/video_url"),
    ],
)
async def test_a_url_may_name_only_the_ports_of_the_setting(
    api: Api, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = await api.http.post(path, json={k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 422, answer.text
    assert (pointer, "url_port") in {
        (error["pointer"], error["code"]) for error in answer.json()["errors"]
    }
