"""What there is to look at in a document's media, and what was found, in words for its caller."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.kit.errors import FieldError
from service.media.domain.defects import Defect

MediaKind = Literal["image", "video"]
FRONTAL_IMAGE = "element_image_list/frontal_image"
DUPLICATE = "duplicate"
DUPLICATE_IMAGE = "duplicate_image"  # the code of an error or a warning for the caller


@dataclass(frozen=True, slots=True)
class MediaReference:
    """An image or a video of a document, as it stands there: by its URL, or by its content's
    SHA-256 (hex). `field` is its place: element_image_list/refer_images/0/image_url."""

    field: str
    kind: MediaKind
    url: str | None
    content: str | None


@dataclass(frozen=True, slots=True)
class MediaDefect:
    """What is wrong with one of them. `passing` if it may be well the next time."""

    field: str
    flaw: Defect
    passing: bool = False


def media_references(document: Mapping[str, Any]) -> Iterator[MediaReference]:
    """In the document's order, the frontal image first; of a document that keeps every rule."""
    images = document.get("element_image_list")
    if images:
        yield _reference(FRONTAL_IMAGE, "image", images["frontal_image"])
        for index, one in enumerate(images["refer_images"]):
            at = f"element_image_list/refer_images/{index}/image_url"
            yield _reference(at, "image", one["image_url"])
    videos = document.get("element_video_list")
    if videos:
        for index, one in enumerate(videos["refer_videos"]):
            at = f"element_video_list/refer_videos/{index}/video_url"
            yield _reference(at, "video", one["video_url"])


def has_media_urls(document: Mapping[str, Any]) -> bool:
    """Whether there is anything to fetch."""
    return any(one.url for one in media_references(document))


def _reference(field: str, kind: MediaKind, value: str | Mapping[str, str]) -> MediaReference:
    if isinstance(value, str):
        return MediaReference(field, kind, value, None)
    return MediaReference(field, kind, None, value["media"])


def media_error(found: Sequence[MediaDefect]) -> dict[str, object]:
    """The error of a subject whose media are bad: the code of the first that will stay so, and all
    that was found. No URL is named: it may hold a secret."""
    lasting_first = sorted(found, key=lambda one: one.passing)
    return {
        "code": f"media_{lasting_first[0].flaw.code}",
        "message": ". ".join(f"{one.field} {one.flaw.message}" for one in lasting_first),
    }


def compare_images(
    images: Sequence[tuple[MediaReference, str]],
) -> tuple[list[MediaDefect], list[FieldError]]:
    """What is wrong with images that have the content of the frontal one, from which the provider
    wants the others to differ, and a warning for each that has another's. Images come in the
    document's order, each with the SHA-256 of its content. Where the document names an image twice
    its caller has been warned already."""
    found: list[MediaDefect] = []
    warnings: list[FieldError] = []
    first: dict[str, MediaReference] = {}
    named: set[str] = set()
    for medium, content in images:
        name = medium.url or content
        like = first.setdefault(content, medium)
        if like is not medium and like.field == FRONTAL_IMAGE:
            found.append(MediaDefect(medium.field, duplicate_defect(like.field)))
        elif like is not medium and name not in named:
            message = f"{medium.field} has the same content as {like.field}"
            warnings.append(FieldError(f"/{medium.field}", DUPLICATE_IMAGE, message))
        named.add(name)
    return found, warnings


def duplicate_defect(first: str) -> Defect:
    """What is wrong with an image that has the content of the one in this field."""
    return Defect(DUPLICATE, f"must differ from {first}, and has the same content")
