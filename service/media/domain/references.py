"""The images and videos that a request refers to, and what was found wrong with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from service.kit.errors import FieldError
from service.media.domain.defects import Defect

MediaKind = Literal["image", "video"]
FRONTAL_IMAGE = "element_image_list/frontal_image"
DUPLICATE_IMAGE = "duplicate_image"  # the code of an error or a warning for the caller


class MediaReference(Struct, frozen=True):
    """An image or a video of a request, given by URL or by content."""

    field: str  # its place: element_image_list/refer_images/0/image_url
    kind: MediaKind  # what it must be
    url: str | None  # None: it is given by content
    content_hash: str | None  # SHA-256 of the content, hex; None: it is given by URL


@dataclass(frozen=True, slots=True)
class MediaDefect:
    """A defect of one of a request's media, and where the request refers to it."""

    field: str  # that of its MediaReference
    defect: Defect  # why it cannot be sent


def media_references(document: Mapping[str, Any]) -> Iterator[MediaReference]:
    """The media of a valid request in its own order, the frontal image first."""
    images = document.get("element_image_list")
    if images:
        yield _reference(FRONTAL_IMAGE, "image", images["frontal_image"])
        for index, image in enumerate(images["refer_images"]):
            field = f"element_image_list/refer_images/{index}/image_url"
            yield _reference(field, "image", image["image_url"])
    videos = document.get("element_video_list")
    if videos:
        for index, video in enumerate(videos["refer_videos"]):
            field = f"element_video_list/refer_videos/{index}/video_url"
            yield _reference(field, "video", video["video_url"])


def has_media_urls(document: Mapping[str, Any]) -> bool:
    """Whether a valid request has media that must be fetched."""
    return any(reference.url for reference in media_references(document))


def _reference(field: str, kind: MediaKind, value: str | Mapping[str, str]) -> MediaReference:
    if isinstance(value, str):
        return MediaReference(field, kind, value, None)
    return MediaReference(field, kind, None, value["media"])


def media_error(defects: Sequence[MediaDefect]) -> dict[str, object]:
    """The error of a subject whose media are bad: the code of the first lasting defect, and the
    messages of all. No URL is named: it may hold a secret."""
    lasting_first = sorted(defects, key=lambda media: media.defect.transient)
    return {
        "code": f"media_{lasting_first[0].defect.code}",
        "message": ". ".join(f"{media.field} {media.defect.message}" for media in lasting_first),
    }


def compare_images(
    images: Sequence[tuple[MediaReference, str]],
) -> tuple[list[MediaDefect], list[FieldError]]:
    """Find images with the same content, by the SHA-256 of each, in the request's order.

    Rule P14: a copy of the frontal image is a defect, a copy of another image a warning. An image
    that the request itself names twice was warned of when it was accepted.
    """
    defects: list[MediaDefect] = []
    warnings: list[FieldError] = []
    first_with: dict[str, MediaReference] = {}
    names: set[str] = set()
    for image, content_hash in images:
        name = image.url or content_hash
        original = first_with.setdefault(content_hash, image)
        if original is not image and original.field == FRONTAL_IMAGE:
            message = f"must differ from {original.field}, and has the same content"
            defects.append(MediaDefect(image.field, Defect("duplicate", message)))
        elif original is not image and name not in names:
            message = f"{image.field} has the same content as {original.field}"
            warnings.append(FieldError(f"/{image.field}", DUPLICATE_IMAGE, message))
        names.add(name)
    return defects, warnings
