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
MAX_MEDIA_ENTRIES = 10  # entries kept of a list of its media; a request has three at most
ID_PATTERN = re.compile(r"[!-~]{1,128}")  # the provider's have 18 digits, ours 30 characters
URL_PATTERN = re.compile(r"https?://[^\s\x00-\x1f\x7f\ud800-\udfff]+", re.IGNORECASE)
ELEMENT_TYPES = MappingProxyType(  # the newer shape's words: rule P34
    {"video_character_elements": VIDEO, "multi_image_elements": IMAGE}
)


def read_id(value: object) -> str | None:
    """An id, string or number, as a string with all its digits; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**30:
        return str(value)
    return value if isinstance(value, str) and ID_PATTERN.fullmatch(value) else None


def read_amount(value: object) -> str | None:
    """A quantity of units: a string, as documented, or a whole number."""
    return clean_text(value) or read_id(value)


def read_deduction(data: Mapping[str, object]) -> str | None:
    """What the task cost: beside the task, or in the newer shape's `billing`."""
    billing = as_mapping(data.get("billing"))
    return read_amount(data.get("final_unit_deduction")) or read_amount(
        billing.get("final_unit_deduction")
    )


def read_time(value: object) -> str | None:
    """A time in Unix milliseconds, as the contract has it; None for anything else, 0 included."""
    return format_rfc3339(from_milliseconds(value or None))


def as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def mappings_in(value: object) -> Iterator[Mapping[str, object]]:
    """The objects of an array, whatever else is in it."""
    entries = value if isinstance(value, list) else []
    return (entry for entry in entries if isinstance(entry, dict))


def read_result(data: Mapping[str, object]) -> dict[str, Any] | None:
    """The subject made, in one shape of our own, with the task's times and what it cost; None if
    there is none with an id."""
    older = (
        _from_legacy(one)
        for one in mappings_in(as_mapping(data.get("task_result")).get("elements"))
    )
    newer = (
        _from_current(one)
        for one in mappings_in(data.get("outputs"))
        if one.get("type") == "element"
    )
    subject = next((one for one in (*older, *newer) if one["element_id"]), None)
    if subject is None:
        return None
    task = {
        "final_unit_deduction": read_deduction(data),
        "provider_created_at": read_time(data.get("created_at"))
        or read_time(data.get("create_time")),
        "provider_updated_at": read_time(data.get("updated_at"))
        or read_time(data.get("update_time")),
    }
    return {name: value for name, value in (subject | task).items() if value}


def _from_legacy(element: Mapping[str, object]) -> dict[str, Any]:
    voice = as_mapping(element.get("element_voice_info"))
    return {
        "element_id": read_id(element.get("element_id")),
        "element_name": clean_text(element.get("element_name")),
        "element_description": clean_text(element.get("element_description")),
        "reference_type": clean_text(element.get("reference_type")),
        "voice": _read_voice(voice, "voice_id", "voice_name", "trial_url"),
        "tags": _read_tags(element.get("tag_list")),
        "owned_by": clean_text(element.get("owned_by")),
        IMAGE_LIST: read_image_list(element.get(IMAGE_LIST)),
        VIDEO_LIST: read_video_list(element.get(VIDEO_LIST)),
    }


def _from_current(element: Mapping[str, object]) -> dict[str, Any]:
    materials = (*mappings_in(element.get("materials")), *mappings_in(element.get("references")))
    voice = next((one for one in materials if one.get("type") == "voice"), {})
    return {
        "element_id": read_id(element.get("id")),
        "element_name": clean_text(element.get("name")),
        "element_description": clean_text(element.get("description")),
        "reference_type": ELEMENT_TYPES.get(clean_text(element.get("element_type"))),
        "voice": _read_voice(voice, "id", "name", "url"),
        "tags": _read_tags(element.get("tags")),
        "owned_by": clean_text(element.get("owned_by")),
        **_media_lists(materials),
    }


def _media_lists(materials: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """The media among the newer shape's materials, as the older shape's lists."""
    shown = [image for image in materials if image.get("type") == "image"]
    shown.sort(key=lambda image: not clean_text(image.get("role")).startswith("frontal"))
    filmed = [video for video in materials if video.get("type") == "video"]
    others = [{"image_url": image.get("url")} for image in shown[1:]]
    first = shown[0].get("url") if shown else None
    return {
        IMAGE_LIST: read_image_list({"frontal_image": first, "refer_images": others}),
        VIDEO_LIST: read_video_list(
            {"refer_videos": [{"video_url": film.get("url")} for film in filmed]}
        ),
    }


def read_image_list(value: object) -> dict[str, Any]:
    """An `element_image_list` with nothing in it but URLs; {} if it has none."""
    frontal = _read_url(as_mapping(value).get("frontal_image"))
    others = _url_entries(as_mapping(value).get("refer_images"), "image_url")
    kept = {"refer_images": others} if frontal or others else {}
    return {"frontal_image": frontal, **kept} if frontal else kept


def read_video_list(value: object) -> dict[str, Any]:
    """An `element_video_list` with nothing in it but URLs; {} if it has none."""
    entries = _url_entries(as_mapping(value).get("refer_videos"), "video_url")
    return {"refer_videos": entries} if entries else {}


def _url_entries(value: object, name: str) -> list[dict[str, str]]:
    found = (_read_url(entry.get(name)) for entry in islice(mappings_in(value), MAX_MEDIA_ENTRIES))
    return [{name: url} for url in found if url]


def _read_url(value: object) -> str | None:
    """The text, if it is a URL: what stands there may be Base64, too."""
    whole = isinstance(value, str) and len(value) <= MAX_URL and URL_PATTERN.fullmatch(value)
    return str(value) if whole else None


def _read_voice(voice: Mapping[str, object], id_: str, name: str, url: str) -> dict[str, str]:
    kept = {
        "voice_id": read_id(voice.get(id_)),
        "voice_name": clean_text(voice.get(name)),
        "trial_url": clean_text(voice.get(url)),
        "owned_by": clean_text(voice.get("owned_by")),
    }
    return {name: value for name, value in kept.items() if value} if kept["voice_id"] else {}


def _read_tags(value: object) -> list[dict[str, str]]:
    tags = (
        {
            "id": read_id(tag.get("id")) or "",
            "name": clean_text(tag.get("name")),
            "description": clean_text(tag.get("description")),
        }
        for tag in mappings_in(value)
    )
    return list(islice((tag for tag in tags if tag["id"]), MAX_TAGS))
