"""What an image is, read from its bytes: a JPEG or a PNG, how large, and what is wrong with it.

Only markers and chunks are walked, nothing is decoded, so a decompression bomb costs nothing; what
stands behind the picture's end is not looked at, as decoders do not. A turn by EXIF's orientation
changes no verdict: the limits are the same for both sides.
Limits: rule P16. Time is linear in the bytes; no input raises.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """Why it is not one: `code` is stable, `message` completes a sentence about the image."""

    code: str
    message: str
