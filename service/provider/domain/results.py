"""The subject that the provider made, read out of a task record of either shape (rules P33 to P35).

Members of the wrong kind are as if they were missing, and texts are cut (rule P96), so that what is
read fits any store.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from service.kit.network.url_policy import MAX_URL
from service.kit.text import clean_text
from service.kit.timestamps import EPOCH, format_rfc3339
from service.subjects.domain.reference_types import IMAGE, IMAGE_LIST, VIDEO, VIDEO_LIST

MAX_TAGS = 100
MAX_MEDIA_ENTRIES = 10  # of a list; a request has three at most
UNITS_PATTERN = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
ID_PATTERN = re.compile(r"[!-~]{1,128}")  # the provider's have 18 digits, ours 30 characters
# The scheme is spelled out in both cases, as re.IGNORECASE would be asked of each character.
URL_PATTERN = re.compile(r"[Hh][Tt]{2}[Pp][Ss]?://[^\s\x00-\x1f\x7f\ud800-\udfff]+")
ELEMENT_TYPES = MappingProxyType(  # rule P34
    {"video_character_elements": VIDEO, "multi_image_elements": IMAGE}
)


def read_id(value: object) -> str | None:
    """Read an id, a text or a number, as a text with all its digits; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**30:
        return str(value)
    return value if isinstance(value, str) and ID_PATTERN.fullmatch(value) else None


def read_deduction(data: Mapping[str, object]) -> str | None:
    """Read what a task cost, in units: rule P35. A whole number does as well as a text."""
    for members in (data, as_mapping(data.get("billing"))):
        value = members.get("final_unit_deduction")
        if cost := clean_text(value) or read_id(value):
            return cost
    return None


def parse_units(deduction: str | None) -> Decimal | None:
    """What a task cost as a number, exactly; None if the text is none, or beyond any bill: at most
    fifteen digits before the point, and nine behind it."""
    if deduction is None or not UNITS_PATTERN.fullmatch(deduction):
        return None
    return Decimal(deduction)


def as_mapping(value: object) -> Mapping[str, object]:
    """The value if it is a JSON object; else an empty one."""
    return value if isinstance(value, dict) else _EMPTY


_EMPTY: Mapping[str, object] = MappingProxyType({})


def _objects_in(value: object) -> list[Mapping[str, object]]:
    """The JSON objects in an array, whatever else is in it; none if the value is no array."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_result(
    data: Mapping[str, object],
    created_at: datetime | None,
    updated_at: datetime | None,
    deduction: str | None,
) -> dict[str, Any] | None:
    """Read the subject from a task record, with the task's times (RFC 3339) and its cost, as they
    were read; None if there is no subject with an id."""
    subject = _first_subject(data)
    if subject is None:
        return None
    subject["final_unit_deduction"] = deduction
    subject["provider_created_at"] = _shown(created_at)
    subject["provider_updated_at"] = _shown(updated_at)
    return {name: value for name, value in subject.items() if value}


def _shown(time: datetime | None) -> str | None:
    """The time in RFC 3339; None for none, and for 0, which says nothing (rule P7)."""
    return None if time is None or time == EPOCH else format_rfc3339(time)


def _first_subject(data: Mapping[str, object]) -> dict[str, Any] | None:
    for element in _objects_in(as_mapping(data.get("task_result")).get("elements")):
        if element_id := read_id(element.get("element_id")):
            return {"element_id": element_id, **_from_legacy(element)}
    for output in _objects_in(data.get("outputs")):
        if output.get("type") == "element" and (element_id := read_id(output.get("id"))):
            return {"element_id": element_id, **_from_current(output)}
    return None


def _from_legacy(element: Mapping[str, object]) -> dict[str, Any]:
    found = {name: read(element[name]) for name, read in _LEGACY.items() if name in element}
    if voice := as_mapping(element.get("element_voice_info")):
        found["voice"] = _read_voice(voice, "voice_id", "voice_name", "trial_url")
    if tags := element.get("tag_list"):
        found["tags"] = _read_tags(tags)
    return found


def _from_current(element: Mapping[str, object]) -> dict[str, Any]:
    materials = (*_objects_in(element.get("materials")), *_objects_in(element.get("references")))
    voice = next((material for material in materials if material.get("type") == "voice"), {})
    return {
        "element_name": clean_text(element.get("name")),
        "element_description": clean_text(element.get("description")),
        "reference_type": ELEMENT_TYPES.get(clean_text(element.get("element_type"))),
        "voice": _read_voice(voice, "id", "name", "url"),
        "tags": _read_tags(element.get("tags")),
        "owned_by": clean_text(element.get("owned_by")),
        **_media_lists(materials),
    }


def _media_lists(materials: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """The media among the current shape's materials, as the lists of the legacy shape."""
    images = [material for material in materials if material.get("type") == "image"]
    images.sort(key=lambda image: not clean_text(image.get("role")).startswith("frontal"))
    others = [{"image_url": image.get("url")} for image in images[1:]]
    frontal = images[0].get("url") if images else None
    videos = [
        {"video_url": material.get("url")}
        for material in materials
        if material.get("type") == "video"
    ]
    return {
        IMAGE_LIST: read_image_list({"frontal_image": frontal, "refer_images": others}),
        VIDEO_LIST: read_video_list({"refer_videos": videos}),
    }


def read_image_list(value: object) -> dict[str, Any]:
    """Read an `element_image_list`, of which only URLs are kept; {} if it has none."""
    frontal = _read_url(as_mapping(value).get("frontal_image"))
    others = _url_entries(as_mapping(value).get("refer_images"), "image_url")
    kept = {"refer_images": others} if frontal or others else {}
    return {"frontal_image": frontal, **kept} if frontal else kept


def read_video_list(value: object) -> dict[str, Any]:
    """Read an `element_video_list`, of which only URLs are kept; {} if it has none."""
    entries = _url_entries(as_mapping(value).get("refer_videos"), "video_url")
    return {"refer_videos": entries} if entries else {}


def _url_entries(value: object, name: str) -> list[dict[str, str]]:
    found = [_read_url(entry.get(name)) for entry in _objects_in(value)[:MAX_MEDIA_ENTRIES]]
    return [{name: url} for url in found if url]


def _read_url(value: object) -> str | None:
    """The text if it is a URL: Base64 may stand there too."""
    whole = isinstance(value, str) and len(value) <= MAX_URL and URL_PATTERN.fullmatch(value)
    return str(value) if whole else None


def _read_voice(voice: Mapping[str, object], id_: str, name: str, url: str) -> dict[str, str]:
    kept = {
        "voice_id": read_id(voice.get(id_)),
        "voice_name": clean_text(voice.get(name)),
        "trial_url": clean_text(voice.get(url)),
        "owned_by": clean_text(voice.get("owned_by")),
    }
    return {key: value for key, value in kept.items() if value} if kept["voice_id"] else {}


def _read_tags(value: object) -> list[dict[str, str]]:
    tags = [
        {
            "id": read_id(tag.get("id")) or "",
            "name": clean_text(tag.get("name")),
            "description": clean_text(tag.get("description")),
        }
        for tag in _objects_in(value)
    ]
    return [tag for tag in tags if tag["id"]][:MAX_TAGS]


# What the legacy shape has under the names that a result has it under.
_LEGACY: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "element_name": clean_text,
        "element_description": clean_text,
        "reference_type": clean_text,
        "owned_by": clean_text,
        IMAGE_LIST: read_image_list,
        VIDEO_LIST: read_video_list,
    }
)
