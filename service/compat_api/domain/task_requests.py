"""Creates as the provider's clients write them: fields that are not set are left out, null, or an
empty text, list or object, and there may be fields of the provider's other calls.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from service.intake.domain.request_rules import READERS
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO_LIST

UNSET_VALUES: Final[tuple[object, ...]] = (None, "", [], {})
ANY: Final = None  # the shape of a field that is kept as it is
Shape = Mapping[str, "Shape"] | list["Shape"] | None
# The known fields, and those in them; a list has one shape for all of its entries.
KNOWN_FIELDS: Mapping[str, Shape] = MappingProxyType(
    {
        **dict.fromkeys(READERS, ANY),
        IMAGE_LIST: {"frontal_image": ANY, "refer_images": [{"image_url": ANY}]},
        VIDEO_LIST: {"refer_videos": [{"video_url": ANY}]},
        "tag_list": [{"tag_id": ANY}],
    }
)


def drop_unset(body: object) -> object:
    """A body without fields that are unset or unknown, at any depth; an entry or object of which
    nothing is left is unset itself. Values of an unexpected type are left to validation."""
    return _drop_unset(body, KNOWN_FIELDS)


def _drop_unset(value: object, shape: Shape) -> object:
    match value, shape:
        case dict(), Mapping():
            fields = {
                name: _drop_unset(value[name], shape[name]) for name in shape if name in value
            }
            return {name: field for name, field in fields.items() if field not in UNSET_VALUES}
        case list(), [each]:
            return [
                kept for entry in value if (kept := _drop_unset(entry, each)) not in UNSET_VALUES
            ]
        case _:
            return value
