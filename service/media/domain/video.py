"""Reading an MP4 or MOV from its bytes as they come: format, size, duration, and the first defect.

Limits: rule P18 of service/provider/README.md; how exactly they are taken: rules P95 and P98.
Boxes alone are read (ISO/IEC 14496-12) and no frame is decoded. Time is linear in the bytes, memory
is bounded; no input raises.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

from service.media.domain import mp4_fragments, mp4_movie
from service.media.domain.defects import TRUNCATED, Defect, InvalidMedia
from service.media.domain.file_types import (
    SIGNATURE_BYTES,
    VideoFormat,
    check_signature,
    format_of_brands,
)
from service.media.domain.mp4_boxes import FILE_LEVEL, Box, BoxBudget, BoxReader, damaged
from service.media.domain.mp4_fragments import add_moof
from service.media.domain.mp4_movie import Movie, Track, read_moov

MAX_BYTES = 200_000_000  # rule P18
MIN_SECONDS, MAX_SECONDS = 3, 8  # rule P18
DURATION_TOLERANCE = Fraction(5, 100)  # seconds, on both sides; rule P95
ALLOWED_SIZES = frozenset({(1920, 1080), (1080, 1920)})  # rule P18: 16:9 or 9:16 at 1080p
# Rule P98: sound comes in frames of 1,024 or 2,048 samples, at 44.1 kHz 46 ms, with one ahead of
# it, and need not be cut at the end of the longest picture.
MAX_TOTAL_SECONDS = MAX_SECONDS + DURATION_TOLERANCE + Fraction(1, 10)
PIXEL_ASPECT_TOLERANCE = Fraction(1, 100)  # of the longer side; rule P98; converters round ratios
CROPPED_SIDES = {1088: 1080}  # rule P95; coded in macroblocks of 16 lines, decoders cut 8 off
MATRIX_ROUNDING_BITS = 8  # of a matrix's 16.16 numbers

SELECTED_BOXES = {
    FILE_LEVEL: frozenset({b"ftyp", b"moov", b"moof"}),
    **mp4_movie.SELECTED_BOXES,
    **mp4_fragments.SELECTED_BOXES,
}
REQUIRED_BOXES = (b"ftyp", b"moov", b"moof", b"mdat")  # any other may be cut short
TOO_LARGE = Defect("too_large", f"has more than {MAX_BYTES:,} bytes (200 MB)")
DECLARED_TOO_LARGE = Defect("too_large", f"declares more than {MAX_BYTES:,} bytes (200 MB)")
NO_VIDEO = Defect("no_video", "has no video track with a picture in it")


@dataclass(frozen=True, slots=True)
class Video:
    """An MP4 or MOV that keeps every limit."""

    format: VideoFormat  # by its brands
    width: int  # pixels as shown, after rotation
    height: int  # pixels as shown, after rotation
    seconds: Fraction  # that its picture is shown


class VideoInspector:
    """Inspects one file, fed in pieces of any size and in order.

    Holds at most `mp4_boxes.MAX_KEPT_BYTES` of headers at a time, twice that while it reads them;
    of all else, nothing.
    """

    def __init__(self) -> None:
        self._budget = BoxBudget()
        self._boxes = BoxReader(SELECTED_BOXES, self._budget)
        self._signature = b""
        self._size = 0
        self._format: VideoFormat | None = None
        self._movie: Movie | None = None
        self._awaits_mdat = False  # the last fragment's samples are still to come
        self._defect: Defect | None = None

    @property
    def defect(self) -> Defect | None:
        """The defect found so far; the rest of the file need not be fetched then. None: none."""
        return self._defect

    def feed(self, data: bytes) -> None:
        """Take the file's next bytes; ignored once there is a defect."""
        if self._defect:
            return
        try:
            self._feed(memoryview(data))
        except InvalidMedia as error:
            self._fail(error.defect)

    def finish(self) -> Video | Defect:
        """End the file: the video, or its first defect. To be called once, after the last byte."""
        try:
            return self._defect or self._finish()
        except InvalidMedia as error:
            self._fail(error.defect)
            return error.defect

    def _fail(self, defect: Defect) -> None:
        self._defect = defect
        self._movie, self._boxes = None, BoxReader(SELECTED_BOXES, self._budget)  # frees memory

    def _feed(self, data: memoryview) -> None:
        piece = data[: MAX_BYTES - self._size]
        rest = piece[max(0, SIGNATURE_BYTES - self._size) :]
        if self._size < SIGNATURE_BYTES:
            self._signature += piece[: len(piece) - len(rest)]
            if len(self._signature) == SIGNATURE_BYTES:
                self._feed_signature()
        self._size += len(piece)
        self._feed_boxes(rest)
        if len(piece) < len(data):
            raise InvalidMedia(TOO_LARGE)

    def _feed_signature(self) -> None:
        check_signature(self._signature)
        self._feed_boxes(memoryview(self._signature))

    def _feed_boxes(self, piece: memoryview) -> None:
        for box in self._boxes.feed(piece):
            self._read_box(box)
        too_large = DECLARED_TOO_LARGE if self._boxes.declared_end > MAX_BYTES else None
        defect = self._boxes.defect or too_large
        if defect and not self._is_behind_movie():
            raise InvalidMedia(defect)

    def _is_behind_movie(self) -> bool:
        """Whether the incomplete box follows a complete movie and is no part of it: it is ignored,
        as players ignore it. Cameras and servers write all sorts there."""
        incomplete = self._boxes.incomplete_type
        if incomplete and any(box_type.startswith(incomplete) for box_type in REQUIRED_BOXES):
            return False
        return not self._awaits_mdat and self._movie is not None and self._movie.has_samples

    def _finish(self) -> Video:
        if self._size < SIGNATURE_BYTES:
            self._feed_signature()
        for box in self._boxes.finish():
            self._read_box(box)
        cut = self._boxes.incomplete_type is not None and not self._is_behind_movie()
        if self._movie is None or self._awaits_mdat or cut:
            raise InvalidMedia(TRUNCATED)
        track = _checked_track(self._movie)
        if track.last_chunk_offset >= self._boxes.complete_until:
            raise InvalidMedia(TRUNCATED)
        width, height = _displayed_size(track)
        seconds = track.shown_seconds(self._movie.timescale)
        return Video(self._format or "mov", width, height, seconds)

    def _read_box(self, box: Box) -> None:
        try:
            if box.type == b"ftyp":
                self._format = self._format or format_of_brands(bytes(box.body))
            elif box.type == b"moov":
                self._read_moov(memoryview(box.body))
            elif box.type == b"moof":
                self._read_moof(memoryview(box.body))
            elif box.type == b"mdat":
                self._awaits_mdat = False
        except struct.error as error:
            raise damaged("a box in it is shorter than what it must hold") from error

    def _read_moov(self, body: memoryview) -> None:
        if self._movie:
            raise damaged("it has two headers (moov)")
        self._movie = read_moov(self._budget, body)
        if not self._movie.fragmented:
            _checked_track(self._movie)

    def _read_moof(self, body: memoryview) -> None:
        if self._movie is None:
            raise damaged("a fragment comes before its header (moov)")
        add_moof(self._budget, self._movie, body)
        self._awaits_mdat = True


def _checked_track(movie: Movie) -> Track:
    """The first video track with samples; raises InvalidMedia if it breaks a limit."""
    tracks = (track for track in movie.tracks.values() if track.handler == b"vide")
    track = next((track for track in tracks if track.sample_count), None)
    if track is None:
        raise InvalidMedia(NO_VIDEO)
    width, height = _displayed_size(track)
    if (width, height) not in ALLOWED_SIZES:
        size = f"is {width} x {height} pixels; it must be 1920 x 1080 or 1080 x 1920"
        raise _wrong_resolution(f"{size} (16:9 or 9:16, 1080p)")
    seconds, total = track.shown_seconds(movie.timescale), movie.total_seconds()
    if not MIN_SECONDS - DURATION_TOLERANCE <= seconds <= MAX_SECONDS + DURATION_TOLERANCE:
        raise _wrong_duration(f"lasts {_decimal(seconds)} s")
    if total > MAX_TOTAL_SECONDS:
        raise _wrong_duration(f"lasts {_decimal(total)} s with its other tracks and gaps")
    return track


def _displayed_size(track: Track) -> tuple[int, int]:
    """Width and height as shown; raises InvalidMedia if they change or its pixels are not
    square."""
    if not track.sample_entries:
        raise damaged("its video track does not say its size")
    (width, height), *others = {(entry.width, entry.height) for entry in track.sample_entries}
    if others:
        raise _wrong_resolution("changes its size between pictures")
    for across, down in (entry.pixel_aspect for entry in track.sample_entries):
        if not _is_square(across, down):
            raise _wrong_resolution(f"has pixels of {across}:{down}; they must be square")
    width, height = CROPPED_SIDES.get(width, width), CROPPED_SIDES.get(height, height)
    return (height, width) if _is_quarter_turn(track.matrix) else (width, height)


def _is_square(across: int, down: int) -> bool:
    """Whether a pixel is square, or of unknown shape: one of its sides is 0."""
    unknown = 0 in {across, down}
    return unknown or abs(across - down) <= PIXEL_ASPECT_TOLERANCE * max(across, down)


def _is_quarter_turn(matrix: tuple[int, ...]) -> bool:
    """Whether a track's matrix (ISO/IEC 14496-12, 8.3.2: a b u c d v x y w) turns it by 90 degrees.

    An upright, mirrored or all-zero matrix does not; one that slants or stretches raises
    InvalidMedia.
    """
    half = 1 << (MATRIX_ROUNDING_BITS - 1)
    a, b, _, c, d = (abs(value) + half >> MATRIX_ROUNDING_BITS for value in matrix[:5])
    if (a, d) == (0, 0) and b == c:
        return b > 0
    if (b, c) == (0, 0) and a == d:
        return False
    raise _wrong_resolution("is rotated by no multiple of 90 degrees, or stretched, when shown")


def _wrong_resolution(message: str) -> InvalidMedia:
    return InvalidMedia(Defect("resolution", message))


def _wrong_duration(message: str) -> InvalidMedia:
    tolerance = f"give or take {float(DURATION_TOLERANCE)} s"
    limits = f"it must last {MIN_SECONDS} to {MAX_SECONDS} s, {tolerance}"
    return InvalidMedia(Defect("duration", f"{message}; {limits}"))


def _decimal(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}".rstrip("0").rstrip(".")
