"""The subject the provider made, read out of a task record of either shape into one of our own.

Foreign values are taken only if they are what they should be, cut short, and fit for any store.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

from service.kit.network.url_policy import MAX_URL
from service.kit.text import clean_text
from service.kit.timestamps import format_rfc3339, from_milliseconds
from service.subjects.domain.reference_types import IMAGE, IMAGE_LIST, VIDEO, VIDEO_LIST

MAX_TAGS = 100  # entries kept of its tags
MAX_MEDIA = 10  # entries kept of a list of its media; a request has three at most
ID = re.compile(r"[!-~]{1,128}")  # the provider's have 18 digits, ours 30 characters
URL = re.compile(r"https?://[^\s\x00-\x1f\x7f\ud800-\udfff]+", re.IGNORECASE)
ELEMENT_TYPES = MappingProxyType(  # the newer shape's words: rule P34
    {"video_character_elements": VIDEO, "multi_image_elements": IMAGE}
)


def identifier(value: object) -> str | None:
    """An id, string or number, as a string with all its digits; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**30:
        return str(value)
    return value if isinstance(value, str) and ID.fullmatch(value) else None


def amount(value: object) -> str | None:
    """A quantity of units: a string, as documented, or a whole number."""
    return clean_text(value) or identifier(value)


def deduction(data: Mapping[str, object]) -> str | None:
    """What the task cost: beside the task, or in the newer shape's `billing`."""
    billing = mapping(data.get("billing"))
    return amount(data.get("final_unit_deduction")) or amount(billing.get("final_unit_deduction"))


def time(value: object) -> str | None:
    """A time in Unix milliseconds, as the contract has it; None for anything else, 0 included."""
    return format_rfc3339(from_milliseconds(value or None))


def mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> Iterator[Mapping[str, object]]:
    """The objects of an array, whatever else is in it."""
    entries = value if isinstance(value, list) else []
    return (entry for entry in entries if isinstance(entry, dict))


def read(data: Mapping[str, object]) -> dict[str, Any] | None:
    """The subject made, in one shape of our own, with the task's times and what it cost; None if
    there is none with an id."""
    older = (_older(one) for one in mappings(mapping(data.get("task_result")).get("elements")))
    newer = (_newer(one) for one in mappings(data.get("outputs")) if one.get("type") == "element")
    subject = next((one for one in (*older, *newer) if one["element_id"]), None)
    if subject is None:
        return None
    task = {
        "final_unit_deduction": deduction(data),
        "provider_created_at": time(data.get("created_at")) or time(data.get("create_time")),
        "provider_updated_at": time(data.get("updated_at")) or time(data.get("update_time")),
    }
    return {name: value for name, value in (subject | task).items() if value}


def _older(element: Mapping[str, object]) -> dict[str, Any]:
    voice = mapping(element.get("element_voice_info"))
    return {
        "element_id": identifier(element.get("element_id")),
        "element_name": clean_text(element.get("element_name")),
        "element_description": clean_text(element.get("element_description")),
        "reference_type": clean_text(element.get("reference_type")),
        "voice": _voice(voice, "voice_id", "voice_name", "trial_url"),
        "tags": _tags(element.get("tag_list")),
        "owned_by": clean_text(element.get("owned_by")),
        IMAGE_LIST: images(element.get(IMAGE_LIST)),
        VIDEO_LIST: videos(element.get(VIDEO_LIST)),
    }


def _newer(element: Mapping[str, object]) -> dict[str, Any]:
    materials = (*mappings(element.get("materials")), *mappings(element.get("references")))
    voice = next((one for one in materials if one.get("type") == "voice"), {})
    return {
        "element_id": identifier(element.get("id")),
        "element_name": clean_text(element.get("name")),
        "element_description": clean_text(element.get("description")),
        "reference_type": ELEMENT_TYPES.get(clean_text(element.get("element_type"))),
        "voice": _voice(voice, "id", "name", "url"),
        "tags": _tags(element.get("tags")),
        "owned_by": clean_text(element.get("owned_by")),
        **_media(materials),
    }


def _media(materials: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """The media among the newer shape's materials, as the older shape's lists."""
    shown = [image for image in materials if image.get("type") == "image"]
    shown.sort(key=lambda image: not clean_text(image.get("role")).startswith("frontal"))
    filmed = [video for video in materials if video.get("type") == "video"]
    others = [{"image_url": image.get("url")} for image in shown[1:]]
    first = shown[0].get("url") if shown else None
    return {
        IMAGE_LIST: images({"frontal_image": first, "refer_images": others}),
        VIDEO_LIST: videos({"refer_videos": [{"video_url": film.get("url")} for film in filmed]}),
    }


def images(value: object) -> dict[str, Any]:
    """An `element_image_list` with nothing in it but URLs; {} if it has none."""
    frontal = _url(mapping(value).get("frontal_image"))
    others = _entries(mapping(value).get("refer_images"), "image_url")
    kept = {"refer_images": others} if frontal or others else {}
    return {"frontal_image": frontal, **kept} if frontal else kept


def videos(value: object) -> dict[str, Any]:
    """An `element_video_list` with nothing in it but URLs; {} if it has none."""
    entries = _entries(mapping(value).get("refer_videos"), "video_url")
    return {"refer_videos": entries} if entries else {}


def _entries(value: object, name: str) -> list[dict[str, str]]:
    found = (_url(entry.get(name)) for entry in islice(mappings(value), MAX_MEDIA))
    return [{name: url} for url in found if url]


def _url(value: object) -> str | None:
    """The text, if it is a URL: what stands there may be Base64, too."""
    whole = isinstance(value, str) and len(value) <= MAX_URL and URL.fullmatch(value)
    return str(value) if whole else None


def _voice(voice: Mapping[str, object], id_: str, name: str, url: str) -> dict[str, str]:
    kept = {
        "voice_id": identifier(voice.get(id_)),
        "voice_name": clean_text(voice.get(name)),
        "trial_url": clean_text(voice.get(url)),
        "owned_by": clean_text(voice.get("owned_by")),
    }
    return {name: value for name, value in kept.items() if value} if kept["voice_id"] else {}


def _tags(value: object) -> list[dict[str, str]]:
    tags = (
        {
            "id": identifier(tag.get("id")) or "",
            "name": clean_text(tag.get("name")),
            "description": clean_text(tag.get("description")),
        }
        for tag in mappings(value)
    )
    return list(islice((tag for tag in tags if tag["id"]), MAX_TAGS))
