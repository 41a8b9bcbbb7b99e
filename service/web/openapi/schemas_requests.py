"""Schemas of create-subject requests. Limits: core/request_rules.py."""

from service.core import images, kinds, request_rules, videos
from service.web.openapi.pieces import (
    PLAIN,
    PROSE,
    Schema,
    array,
    may_be_null,
    record,
    ref,
    sized,
    text,
    url,
    visible,
    word,
)

BASE64 = r"^(data:[^,]{0,128};base64,)?[A-Za-z0-9+/= \t\r\n]+$"
CHARACTERS = "Code points after NFC; not only blanks, no control characters."
IMAGE: Schema = {
    "anyOf": [
        url("What is behind it is looked at before it goes to the provider."),
        text(
            f"A JPEG or PNG by content, in Base64: at most {images.MAX_BYTES:,} bytes, each side "
            f"at least {images.MIN_SIDE} pixels, the aspect ratio 1:2.5 to 2.5:1, not animated "
            "(a PNG that says so behind its data, or of one frame, is a still).",
            format="base64-image",
            pattern=BASE64,
        ),
    ]
}
IMAGE_LIST = record(
    {
        "frontal_image": ref("Image"),
        "refer_images": array(record({"image_url": ref("Image")}), request_rules.REFER_IMAGES),
    },
    description="The others must differ from the frontal one, by URL and by content. Two that are "
    "the same among them are reported in `warnings`.",
)
LEEWAY = float(videos.LEEWAY)
VIDEO = (
    "An MP4 or MOV by content, no Base64: its picture lasts "
    f"{videos.MIN_SECONDS} to {videos.MAX_SECONDS} s, give or take {LEEWAY} s, and the whole file, "
    f"sound included, at most {float(videos.LONGEST)} s; 1920 x 1080 or 1080 x 1920 as shown, of "
    f"pixels that are square within 1 %; at most {videos.MAX_BYTES:,} bytes. Whose "
    "brands include isom, iso2 to iso9, mp41, mp42 or avc1 is an MP4. What stands behind a whole "
    "film is not looked at."
)
VIDEO_LIST = record(
    {"refer_videos": array(record({"video_url": url(VIDEO)}), request_rules.VIDEOS)},
    description="It is looked at before it goes to the provider.",
)
TAG = record(
    {"tag_id": word(*request_rules.TAGS, description=", ".join(request_rules.TAGS.values()))}
)
EXTERNAL_ID = sized(
    request_rules.EXTERNAL_ID_LENGTH,
    "The caller's own id, unique per account: code points of any script after NFC, in which it is "
    "compared and shown; no control characters. Percent-encoded in paths and queries.",
    pattern=PLAIN,
)
COMMON = {
    "tag_list": array(ref("Tag"), request_rules.TAG_ENTRIES, "Repeats are folded."),
    "callback_url": url(
        "Is sent the provider's own callbacks, signed by us. Once the subject is made they name its"
        " media by the URLs that the provider names, else by those of the request; what was sent as"
        " Base64 is left out."
    ),
    "external_task_id": EXTERNAL_ID,
}
IGNORED: Schema = {"description": "Ignored, and reported in `warnings` unless it is null."}
VOICE = visible(request_rules.VOICE_LENGTH, "An existing voice; empty is none.")
NO_VOICE = text("Only video-based subjects support voice binding: empty, if anything.", maxLength=0)


def schemas(*, voice_for_images: bool) -> dict[str, Schema]:
    """`voice_for_images` is the setting of that name."""
    return {
        "SubjectRequest": _request(),
        "ImageSubjectRequest": _of_kind(
            kinds.IMAGE, "element_image_list", VOICE if voice_for_images else NO_VOICE
        ),
        "VideoSubjectRequest": _of_kind(kinds.VIDEO, "element_video_list", VOICE),
        "Image": IMAGE,
        "ImageList": IMAGE_LIST,
        "VideoList": VIDEO_LIST,
        "Tag": TAG,
    }


def _request() -> Schema:
    schemas = {kinds.IMAGE: "ImageSubjectRequest", kinds.VIDEO: "VideoSubjectRequest"}
    paths = {kind: ref(name)["$ref"] for kind, name in schemas.items()}
    return {
        "oneOf": [ref(name) for name in schemas.values()],
        "discriminator": {"propertyName": "reference_type", "mapping": paths},
    }


def _of_kind(kind: str, needed: str, voice: Schema) -> Schema:
    lists = {"element_image_list": ref("ImageList"), "element_video_list": ref("VideoList")}
    (ignored,) = lists.keys() - {needed}
    return record(
        {
            "element_name": sized(
                range(1, request_rules.NAME_LIMIT + 1), CHARACTERS, pattern=PROSE
            ),
            "element_description": sized(
                range(1, request_rules.DESCRIPTION_LIMIT + 1), CHARACTERS, pattern=PROSE
            ),
            "reference_type": {"type": "string", "const": kind},
            needed: lists[needed],
        },
        {ignored: IGNORED, **may_be_null({"element_voice_id": voice, **COMMON})},
        "What is null is not set.",
    )
