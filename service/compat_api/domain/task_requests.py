"""Requests on the provider's own paths, as its clients write them: what they did not set is left
out, or null, or an empty text, list or object; and there are members of the provider's other calls.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from service.intake.domain.request_rules import READERS
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO_LIST

UNSET_VALUES: Final[tuple[object, ...]] = (None, "", [], {})
ANY: Final = None  # of a member: it is kept as it is
Shape = Mapping[str, "Shape"] | list["Shape"] | None
# The members that are known, and those in them; a list has one shape for all of its entries.
KNOWN_FIELDS: Mapping[str, Shape] = MappingProxyType(
    {
        **dict.fromkeys(READERS, ANY),
        IMAGE_LIST: {"frontal_image": ANY, "refer_images": [{"image_url": ANY}]},
        VIDEO_LIST: {"refer_videos": [{"video_url": ANY}]},
        "tag_list": [{"tag_id": ANY}],
    }
)


def drop_unset(body: object) -> object:
    """A body without members that are not set or not known, wherever they stand; what has nothing
    else in it is not set either. What is of another type than expected is left for the rules."""
    return _drop_unset(body, KNOWN_FIELDS)


def _drop_unset(value: object, shape: Shape) -> object:
    match value, shape:
        case dict(), Mapping():
            members = {
                name: _drop_unset(value[name], shape[name]) for name in shape if name in value
            }
            return {name: member for name, member in members.items() if member not in UNSET_VALUES}
        case list(), [each]:
            return [
                kept for entry in value if (kept := _drop_unset(entry, each)) not in UNSET_VALUES
            ]
        case _:
            return value
