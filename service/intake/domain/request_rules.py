"""The rules of a create-subject request (P10 to P25 of service/provider/README.md): one reader for
each field, and all broken rules are reported together. Media behind URLs are checked by the worker.
"""

import base64
import hashlib
import re
from collections.abc import Container, Mapping
from functools import partial
from types import MappingProxyType

from service.intake.domain.create_request import CreateRequest
from service.kit import validation
from service.kit.validation import Reader, ValidationContext
from service.media.domain import defects
from service.media.domain import image as image_reader
from service.media.domain.references import DUPLICATE_IMAGE
from service.subjects.domain.reference_types import IMAGE, IMAGE_LIST, VIDEO, VIDEO_LIST

MAX_NAME = 20  # characters; rule P10
MAX_DESCRIPTION = 100  # characters; rule P11
REFER_IMAGE_COUNT = range(1, 4)  # rule P14: beside the one frontal image of rule P13
VIDEO_COUNT = range(1, 2)  # rule P17
# Characters. Rule P20: an empty id is none. The upper bound is ours: the provider's have about 20.
VOICE_LENGTH = range(129)
TAG_COUNT = range(101)  # ours; rule P22 allows several
TAGS = MappingProxyType(  # rule P23: names by tag_id
    {
        "o_101": "meme",
        "o_102": "person",
        "o_103": "animal",
        "o_104": "prop",
        "o_105": "costume",
        "o_106": "scene",
        "o_107": "effect",
        "o_108": "other",
    }
)
EXTERNAL_ID_LENGTH = range(1, 257)  # characters; ours: rule P25 wants it unique
BASE64_PREFIX = re.compile(r"data:[^,]{0,128};base64,", re.IGNORECASE)
WHITESPACE = b" \t\r\n"  # `base64` breaks its lines after 76 characters
MAX_BASE64 = (image_reader.MAX_BYTES // 3 + 2) * 4  # characters; more than the largest image has


def parse_request(
    body: object,
    account_id: str,
    *,
    allow_voice_for_images: bool = False,
    ports: Container[int] | None = None,
) -> CreateRequest:
    """The request that an account makes by a JSON body; Invalid with every broken rule.

    A null field is left out. An empty text breaks its field's rule, except for the voice, where it
    means none (rule P20). `allow_voice_for_images` lifts rule P21; `ports` are those that URLs may
    name, None any.
    """
    context = ValidationContext(ports)
    fields = validation.body_fields(context, body, READERS)
    _check_required(context, fields)
    values = validation.read_fields(context, fields, READERS)
    document = {name: value for name, value in values.items() if value}
    is_image = document.get("reference_type") == IMAGE
    if is_image and "element_voice_id" in document and not allow_voice_for_images:  # rule P21
        rule = "needs reference_type video_refer: only video-based subjects support voice binding"
        context.add_error("/element_voice_id", "voice_needs_video", rule)
    context.raise_errors()
    return CreateRequest(account_id, document, context.attachments, tuple(context.warnings))


def _check_required(context: ValidationContext, fields: dict[str, object]) -> None:
    """Report the required fields that are missing, and drop the list that is ignored with this
    reference_type (rule P17), with a warning."""
    required = ("element_name", "element_description", "reference_type")
    validation.require(context, "", fields, required)
    reference_type = fields.get("reference_type")
    if reference_type not in (VIDEO, IMAGE):
        return
    is_video = reference_type == VIDEO
    used, ignored = (VIDEO_LIST, IMAGE_LIST) if is_video else (IMAGE_LIST, VIDEO_LIST)
    validation.require(context, "", fields, (used,))  # rules P13 and P17
    if ignored in fields:
        del fields[ignored]
        reason = f"is ignored when reference_type is {reference_type}"
        context.warn(f"/{ignored}", "ignored", reason)


def _image_list(context: ValidationContext, at: str, value: object) -> object:
    """Rules P13 and P14: one frontal image, and others that differ from it."""
    fields = validation.required_object(context, at, value, ("frontal_image", "refer_images"))
    first_places: dict[str, str] = {}
    images: dict[str, object] = {}
    if "frontal_image" in fields:
        image_at = f"{at}/frontal_image"
        images["frontal_image"] = _image(context, image_at, fields["frontal_image"], first_places)
    if "refer_images" in fields:
        entries = validation.list_items(
            context, f"{at}/refer_images", fields["refer_images"], REFER_IMAGE_COUNT
        )
        images["refer_images"] = [
            {"image_url": _image(context, image_at, image, first_places)}
            for entry_at, entry in entries
            for image_at, image in validation.single_field(context, entry_at, entry, "image_url")
        ]
    return images


def _image(
    context: ValidationContext, at: str, value: object, first_places: dict[str, str]
) -> object:
    """An image by URL, or the content hash of one in Base64 (rule P15); None if it breaks a rule.
    `first_places` are the pointers at which each URL and each hash stood first."""
    text = validation.string(context, at, value)
    if text is None:
        return None
    is_url = validation.URL_START.match(text)
    key = validation.url(context, at, text) if is_url else _inline_image(context, at, text)
    if key is None:
        return None
    _report_duplicate(context, at, first_places.setdefault(key, at))
    return key if is_url else {"media": key}


def _report_duplicate(context: ValidationContext, at: str, first: str) -> None:
    """An image equal to the frontal one breaks rule P14. Of other equal images no rule says
    anything, so there is a warning."""
    if first.endswith("/frontal_image") and at != first:
        context.add_error(at, DUPLICATE_IMAGE, f"must differ from {first[1:]}")
    elif at != first:
        context.warn(at, DUPLICATE_IMAGE, f"is the same as {first[1:]}")


def _inline_image(context: ValidationContext, at: str, text: str) -> str | None:
    """The content hash (SHA-256, hex) of an image in Base64; its bytes become an attachment. None
    if it breaks rule P16."""
    try:
        data = _decode_base64(text)
    except ValueError:  # binascii.Error and UnicodeEncodeError are subclasses
        rule = "must be an http or https URL, or an image in Base64"
        context.add_error(at, "image_not_base64", rule)
        return None
    image = image_reader.inspect(data)
    if isinstance(image, defects.Defect):
        context.add_error(at, f"image_{image.code}", image.message)
        return None
    key = hashlib.sha256(data).hexdigest()
    context.attachments[key] = data
    return key


def _decode_base64(text: str) -> bytes:
    """The bytes of a Base64 text, with or without a `data:` prefix, cut where they are too many
    anyway; ValueError if it is no Base64."""
    if not text.isascii():  # Python knows this without reading; slicing would copy 4 bytes each
        raise ValueError
    prefix = BASE64_PREFIX.match(text)
    raw = text[prefix.end() if prefix else 0 :].encode("ascii").translate(None, WHITESPACE)
    return base64.b64decode(raw[:MAX_BASE64], validate=True)


def _video_list(context: ValidationContext, at: str, value: object) -> object:
    """Rule P17: one video, by URL."""
    urls = [
        {"video_url": validation.url(context, url_at, url)}
        for list_at, videos in validation.single_field(context, at, value, "refer_videos")
        for entry_at, entry in validation.list_items(context, list_at, videos, VIDEO_COUNT)
        for url_at, url in validation.single_field(context, entry_at, entry, "video_url")
    ]
    return {"refer_videos": urls}


def _tags(context: ValidationContext, at: str, value: object) -> object:
    """Rules P22 and P23: any number of tags; repeated ones are dropped."""
    tags = [
        validation.one_of(context, tag_at, tag, TAGS)
        for entry_at, entry in validation.list_items(context, at, value, TAG_COUNT)
        for tag_at, tag in validation.single_field(context, entry_at, entry, "tag_id")
    ]
    return [{"tag_id": tag} for tag in dict.fromkeys(tags)]


def external_id(context: ValidationContext, at: str, value: object) -> str | None:
    """A caller's own id, in any script; in NFC, since ids are compared byte by byte (rule P25)."""
    text = validation.normalized_text(context, at, value, EXTERNAL_ID_LENGTH[-1])
    if text == "":
        context.add_error(at, "too_short", f"must have 1 to {EXTERNAL_ID_LENGTH[-1]} characters")
    return text


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "element_name": partial(validation.text, limit=MAX_NAME),
        "element_description": partial(validation.text, limit=MAX_DESCRIPTION),
        "reference_type": partial(validation.one_of, allowed=(VIDEO, IMAGE)),
        IMAGE_LIST: _image_list,
        VIDEO_LIST: _video_list,
        "element_voice_id": partial(validation.ascii_text, allowed=VOICE_LENGTH),
        "tag_list": _tags,
        "callback_url": validation.url,
        "external_task_id": external_id,
    }
)
