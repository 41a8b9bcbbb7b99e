"""The rules of a create-subject request, one reader a field; everything wrong is said at once.

They are rules P10 to P25 of service/provider/README.md. What lies behind a URL is judged later, by
the worker.
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
REFER_IMAGE_COUNT = range(1, 4)  # rule P14: beside the one frontal image
VIDEO_COUNT = range(1, 2)  # rule P17
# Rule P20: an empty one is none. The upper bound is ours; the provider's ids have about 20.
VOICE_LENGTH = range(129)
TAG_COUNT = range(101)  # ours; rule P22 allows several, and repeats are folded
TAGS = MappingProxyType(  # rule P23
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
EXTERNAL_ID_LENGTH = range(1, 257)  # characters; ours: rule P25 asks only that it be unique
BASE64_PREFIX = re.compile(r"data:[^,]{0,128};base64,", re.IGNORECASE)
WHITESPACE = b" \t\r\n"  # `base64` breaks its lines after 76 characters
MAX_BASE64 = (image_reader.MAX_BYTES // 3 + 2) * 4  # characters of a too large image


def parse_request(
    body: object,
    account_id: str,
    *,
    allow_voice_for_images: bool = False,
    ports: Container[int] | None = None,
) -> CreateRequest:
    """The request that an account makes by a JSON body; Invalid, with every error, if it breaks a
    rule.

    A field that is null is left out; an empty text breaks the rule of its field, but for the voice:
    a caller's unset variable is no choice of his.
    `allow_voice_for_images` admits a voice for image subjects, which rule P21 does not; `ports` are
    those that its URLs may name, None any.
    """
    context = ValidationContext(ports)
    given = validation.body_fields(context, body, READERS)
    _check_required(context, given)
    read = validation.read_fields(context, given, READERS)
    document = {name: value for name, value in read.items() if value}
    if document.get("reference_type") == IMAGE and not allow_voice_for_images:  # rule P21
        _forbid_voice(context, document)
    context.raise_errors()
    return CreateRequest(account_id, document, context.attachments, tuple(context.warnings))


def _check_required(context: ValidationContext, given: dict[str, object]) -> None:
    """Report what is missing; drop the list this kind of subject ignores, with a warning."""
    validation.require(
        context, "", given, ("element_name", "element_description", "reference_type")
    )
    kind = given.get("reference_type")
    if kind not in (VIDEO, IMAGE):
        return
    used, ignored = (VIDEO_LIST, IMAGE_LIST) if kind == VIDEO else (IMAGE_LIST, VIDEO_LIST)
    validation.require(context, "", given, (used,))  # rules P13 and P17
    if ignored in given:
        del given[ignored]  # rule P17
        context.warn(f"/{ignored}", "ignored", f"is ignored when reference_type is {kind}")


def _forbid_voice(context: ValidationContext, document: Mapping[str, object]) -> None:
    if "element_voice_id" in document:
        rule = "needs reference_type video_refer: only video-based subjects support voice binding"
        context.add_error("/element_voice_id", "voice_needs_video", rule)


def _image_list(context: ValidationContext, at: str, value: object) -> object:
    """Rules P13 and P14: one frontal image, and others that differ from it."""
    given = validation.required_object(context, at, value, ("frontal_image", "refer_images"))
    seen: dict[str, str] = {}
    kept: dict[str, object] = {}
    if "frontal_image" in given:
        place = f"{at}/frontal_image"
        kept["frontal_image"] = _image(context, place, given["frontal_image"], seen)
    if "refer_images" in given:
        entries = validation.list_items(
            context, f"{at}/refer_images", given["refer_images"], REFER_IMAGE_COUNT
        )
        kept["refer_images"] = [
            {"image_url": _image(context, place, image, seen)}
            for entry_at, entry in entries
            for place, image in validation.single_field(context, entry_at, entry, "image_url")
        ]
    return kept


def _image(context: ValidationContext, at: str, value: object, seen: dict[str, str]) -> object:
    """An image as it is kept, by URL or in Base64 (rule P15); `seen` holds where each URL and each
    content stood first."""
    text = validation.string(context, at, value)
    if text is None:
        return None
    is_url = validation.URL_START.match(text)
    key = validation.url(context, at, text) if is_url else _inline_image(context, at, text)
    if key is None:
        return None
    _report_duplicate(context, at, seen.setdefault(key, at))
    return key if is_url else {"media": key}


def _report_duplicate(context: ValidationContext, at: str, first: str) -> None:
    """The provider wants the other images to differ from the frontal one, so one that does not is
    refused; it says nothing of two others that are alike, so of these there is a warning."""
    if first.endswith("/frontal_image") and at != first:
        context.add_error(at, DUPLICATE_IMAGE, f"must differ from {first[1:]}")
    elif at != first:
        context.warn(at, DUPLICATE_IMAGE, f"is the same as {first[1:]}")


def _inline_image(context: ValidationContext, at: str, text: str) -> str | None:
    """The content hash of an image in Base64 that keeps rule P16; its bytes are put aside."""
    try:
        data = _decode_base64(text)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both of its kind
        rule = "must be an http or https URL, or an image in Base64"
        context.add_error(at, "image_not_base64", rule)
        return None
    found = image_reader.inspect(data)
    if isinstance(found, defects.Defect):
        context.add_error(at, f"image_{found.code}", found.message)
        return None
    key = hashlib.sha256(data).hexdigest()
    context.attachments[key] = data
    return key


def _decode_base64(text: str) -> bytes:
    """What Base64 stands for, with or without `data:` before it; only so far as it may matter."""
    if not text.isascii():  # known without a look; to cut such a text takes four times its length
        raise ValueError
    prefix = BASE64_PREFIX.match(text)
    raw = text[prefix.end() if prefix else 0 :].encode("ascii").translate(None, WHITESPACE)
    return base64.b64decode(raw[:MAX_BASE64], validate=True)


def _video_list(context: ValidationContext, at: str, value: object) -> object:
    """Rule P17: a URL, and not empty; what is behind it is looked at later."""
    urls = [
        {"video_url": validation.url(context, place, url)}
        for list_at, videos in validation.single_field(context, at, value, "refer_videos")
        for entry_at, entry in validation.list_items(context, list_at, videos, VIDEO_COUNT)
        for place, url in validation.single_field(context, entry_at, entry, "video_url")
    ]
    return {"refer_videos": urls}


def _tags(context: ValidationContext, at: str, value: object) -> object:
    """Rule P22: several; each is kept once."""
    tags = [
        validation.one_of(context, place, tag, TAGS)
        for entry_at, entry in validation.list_items(context, at, value, TAG_COUNT)
        for place, tag in validation.single_field(context, entry_at, entry, "tag_id")
    ]
    return [{"tag_id": tag} for tag in dict.fromkeys(tags)]


def external_id(context: ValidationContext, at: str, value: object) -> str | None:
    """A text of any script, in NFC: the provider wants it to be unique in an account, and two are
    compared byte by byte."""
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
