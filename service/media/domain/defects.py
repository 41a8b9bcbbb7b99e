"""Defects of images and videos: why a file cannot be fetched, or not be sent to the provider."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a file did not come, or is not an image or a video that the provider takes."""

    code: str  # stable; callers get it as media_<code>
    message: str  # completes a sentence that begins with the file: "is cut short"
    transient: bool = False  # it may be gone the next time


TRUNCATED = Defect("truncated", "is cut short")


class InvalidMedia(Exception):
    """Ends the reading of a file, with the defect that ended it."""

    def __init__(self, defect: Defect) -> None:
        super().__init__()
        self.defect = defect
