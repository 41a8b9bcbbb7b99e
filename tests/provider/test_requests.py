"""The body of a create, as the provider gets it."""

import base64

from service.provider.domain.requests import create_body
from tests.support.request_bodies import (
    IMAGE_URL,
    PNG_BASE64,
    PNG_IMAGE,
    check,
    image_list,
    image_url_body,
    video_url_body,
)


def test_the_provider_gets_the_document_with_our_id_and_bare_base64() -> None:
    given_images = image_list(f"data:image/png;base64,{PNG_BASE64}", IMAGE_URL)
    request = check(
        image_url_body(
            element_image_list=given_images,
            external_task_id="theirs",
            callback_url="http://theirs.example.com",
            tag_list=[{"tag_id": "o_101"}],
        )
    )
    body = create_body(
        request.document,
        request.inline_images,
        external_task_id="sub_1",
        callback_url="https://ours.example.com/callbacks/t",
    )
    assert body == {
        "element_name": "Mira",
        "element_description": "A fencer in white",
        "reference_type": "image_refer",
        "element_image_list": image_list(PNG_BASE64, IMAGE_URL),
        "tag_list": [{"tag_id": "o_101"}],
        "external_task_id": "sub_1",
        "callback_url": "https://ours.example.com/callbacks/t",
    }
    assert base64.b64decode(body["element_image_list"]["frontal_image"]) == PNG_IMAGE


def test_the_provider_gets_a_video_by_its_url() -> None:
    document = check(video_url_body()).document
    body = create_body(document, {}, external_task_id="s", callback_url="u")
    assert body == video_url_body(external_task_id="s", callback_url="u")
