"""The characters of the demo: the request of each, its fault, and how it must end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.local.demo.portraits import encode_base64, portrait

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Character:
    """One subject that the demo asks for."""

    name: str  # by which the demo speaks of it
    description: str  # what is special about it, for people
    body: Body = field(repr=False)  # of the create request
    fault: Mapping[str, object] | None = None  # that the simulator commits; None for none
    final_state: str | None = "succeeded"  # None where the request itself is refused
    error_code: str | None = None  # the provider's; None where it gives none
    pointers: tuple[str, ...] = ()  # JSON pointers of the fields that a refusal must name
    is_job: bool = False  # whether an arq job asks for it, and no HTTP request


def all_characters(media: str) -> list[Character]:
    """All characters; `media` is the URL under which the demo serves its media."""
    return [*_successful(media), *_refused(), *_with_faults(media)]


def _successful(media: str) -> list[Character]:
    return [
        Character("Ada", "three JPEG images as Base64", _base64_images("Ada", "JPEG")),
        Character("Bo", "two PNG images as Base64", _base64_images("Bo", "PNG", turns=(0.8,))),
        Character(
            "Cleo", "images by URL, from an arq job", _images_by_url("Cleo", media), is_job=True
        ),
        Character("Dara", "a 5 s 1080p video by URL", _video_by_url("Dara", media)),
    ]


def _refused() -> list[Character]:
    broken = _base64_images("Eve", "JPEG") | {
        "element_name": "Eve, with a name far too long",
        "element_description": "",
        "tag_list": [{"tag_id": "o_999"}],
        "element_voice_id": "voice-1",
    }
    pointers = ("/element_name", "/element_description", "/tag_list/0/tag_id", "/element_voice_id")
    return [
        Character("Eve", "breaks four rules", broken, final_state=None, pointers=pointers),
        Character(
            "Finn",
            "refused by the provider's policy",
            _base64_images("Finn", "JPEG"),
            {"code": 1301, "message": "content security policy"},
            final_state="failed",
            error_code="1301",
        ),
    ]


def _with_faults(media: str) -> list[Character]:
    return [
        Character(
            "Gil",
            "the submission's answer is lost",
            _base64_images("Gil", "PNG", turns=(0.8,)),
            {"answer": "drop", "lose": ["submitted", "processing"], "finished_after": 3.0},
        ),
        Character("Hana", "every callback is lost", _images_by_url("Hana", media), {"lose": True}),
        Character(
            "Ivo",
            "fails at the provider",
            _base64_images("Ivo", "JPEG"),
            {"fail": "no face was found"},
            final_state="failed",
        ),
        Character(
            "Juno",
            "callbacks last first, three times each",
            _base64_images("Juno", "JPEG"),
            {"reorder": True, "duplicate": 2},
        ),
        Character("Kit", "every callback is forged", _images_by_url("Kit", media), {"forge": True}),
        Character(
            "Lou",
            "called back before the submission is answered",
            _base64_images("Lou", "JPEG"),
            {"before_answer": 3, "shape": "current"},
        ),
    ]


def _body(name: str, **more: object) -> Body:
    return {
        "element_name": name,
        "element_description": f"{name}, as seen in the demo",
        "tag_list": [{"tag_id": "o_102"}],
        "external_task_id": f"demo-{name.lower()}",
        **more,
    }


def _image_body(name: str, frontal: str, others: list[str]) -> Body:
    images = {"frontal_image": frontal, "refer_images": [{"image_url": image} for image in others]}
    return _body(name, reference_type="image_refer", element_image_list=images)


def _base64_images(name: str, form: str, turns: tuple[float, ...] = (-0.8, 0.8)) -> Body:
    others = [encode_base64(portrait(name, turn), form) for turn in turns]
    return _image_body(name, encode_base64(portrait(name), form), others)


def _images_by_url(name: str, media: str) -> Body:
    return _image_body(name, f"{media}/{name}/front.jpg", [f"{media}/{name}/side.png"])


def _video_by_url(name: str, media: str) -> Body:
    videos = {"refer_videos": [{"video_url": f"{media}/subject.mp4"}]}
    return _body(name, reference_type="video_refer", element_video_list=videos)
