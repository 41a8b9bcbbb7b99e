"""What a video is, read from its bytes as they come: an MP4 or MOV, its size, its length, its flaw.

Only headers are read, nothing is decoded. Limits: rule P18. Time is linear in
the bytes, memory bounded; no input raises.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

from service.media.domain import mp4_fragments, mp4_movie
from service.media.domain.defects import Defect
from service.media.domain.file_types import (
    SIGNATURE_BYTES,
    VideoFormat,
    check_signature,
    format_of_brands,
)
from service.media.domain.image import TRUNCATED
from service.media.domain.mp4_boxes import (
    FILE_LEVEL,
    Box,
    BoxBudget,
    BoxReader,
    InvalidMedia,
    damaged,
)
from service.media.domain.mp4_fragments import add_moof
from service.media.domain.mp4_movie import Movie, Track, read_moov

MAX_BYTES = 200_000_000  # rule P18; decimal, so that what passes here passes there
MIN_SECONDS, MAX_SECONDS = 3, 8  # rule P18
# Ours: what counts as so many seconds, on both sides. No whole number of frames at 29.97 a second
# lasts 3 or 8: these are 3.003 and 8.008 s.
DURATION_TOLERANCE = Fraction(5, 100)
ALLOWED_SIZES = frozenset({(1920, 1080), (1080, 1920)})  # rule P18: 16:9 or 9:16 at 1080p
# Ours: how long the whole file may last, so that sound need not be cut at the end of the longest
# picture. It comes in frames of 1,024 or 2,048 samples, at 44.1 kHz 46 ms, with one ahead of it.
MAX_TOTAL_SECONDS = MAX_SECONDS + DURATION_TOLERANCE + Fraction(1, 10)
# Ours: how far from square a pixel may be, of its longer side; converters round such ratios.
PIXEL_ASPECT_TOLERANCE = Fraction(1, 100)
CROPPED_SIDES = {1088: 1080}  # coded in macroblocks of 16 lines; decoders cut the last 8 off
MATRIX_ROUNDING_BITS = 8  # bits of a matrix's 16.16 numbers that are rounding

SELECTED_BOXES = {
    FILE_LEVEL: frozenset({b"ftyp", b"moov", b"moof"}),
    **mp4_movie.SELECTED_BOXES,
    **mp4_fragments.SELECTED_BOXES,
}
REQUIRED_BOXES = (
    b"ftyp",
    b"moov",
    b"moof",
    b"mdat",
)  # what must be whole; the rest may be missing, or cut
TOO_LARGE = Defect("too_large", f"has more than {MAX_BYTES:,} bytes (200 MB)")
DECLARED_TOO_LARGE = Defect("too_large", f"says that it has more than {MAX_BYTES:,} bytes (200 MB)")
NO_VIDEO = Defect("no_video", "has no video track with a picture in it")


@dataclass(frozen=True, slots=True)
class Video:
    """An MP4 or MOV that keeps every limit; sides in pixels as shown, after rotation."""

    kind: VideoFormat
    width: int
    height: int
    seconds: Fraction


class VideoInspector:
    """Judges one file, fed in pieces of any size and in order.

    Holds at most `boxes.MAX_KEPT` bytes of headers at a time, twice that while it looks at them;
    of all else, nothing.
    """

    def __init__(self) -> None:
        self._tally = BoxBudget()
        self._stream = BoxReader(SELECTED_BOXES, self._tally)
        self._start = b""
        self._size = 0
        self._kind: VideoFormat | None = None
        self._movie: Movie | None = None
        self._owed = False
        self._flaw: Defect | None = None

    @property
    def flaw(self) -> Defect | None:
        """What is wrong with it whatever may follow, so that the rest need not be fetched."""
        return self._flaw

    def feed(self, data: bytes) -> None:
        """Takes the file's next bytes."""
        if self._flaw:
            return
        try:
            self._take(memoryview(data))
        except InvalidMedia as broken:
            self._fail(broken.flaw)

    def finish(self) -> Video | Defect:
        """The video, or the first limit it breaks. To be called once, after the last byte."""
        if self._flaw:
            return self._flaw
        try:
            return self._whole()
        except InvalidMedia as broken:
            self._fail(broken.flaw)
            return broken.flaw

    def _fail(self, flaw: Defect) -> None:
        self._flaw = flaw
        self._movie, self._stream = (
            None,
            BoxReader(SELECTED_BOXES, self._tally),
        )  # lets go of what they hold

    def _take(self, data: memoryview) -> None:
        piece = data[: MAX_BYTES - self._size]
        rest = piece[max(0, SIGNATURE_BYTES - self._size) :]
        if self._size < SIGNATURE_BYTES:
            self._start += piece[: len(piece) - len(rest)]
            if len(self._start) == SIGNATURE_BYTES:
                self._begin()
        self._size += len(piece)
        self._walk(rest)
        if len(piece) < len(data):
            raise InvalidMedia(TOO_LARGE)

    def _begin(self) -> None:
        check_signature(self._start)
        self._walk(memoryview(self._start))

    def _walk(self, piece: memoryview) -> None:
        for box in self._stream.feed(piece):
            self._use(box)
        flaw = self._stream.flaw or (DECLARED_TOO_LARGE if self._stream.end > MAX_BYTES else None)
        if flaw and not self._is_behind():
            raise InvalidMedia(flaw)

    def _is_behind(self) -> bool:
        """Whether what has begun last stands behind a film that is there, and is no part of it:
        then it is not looked at, as players do not. Cameras and servers write all sorts there."""
        begun = self._stream.begun
        part = begun and any(kind.startswith(begun) for kind in REQUIRED_BOXES)
        return not part and not self._owed and self._movie is not None and self._movie.begins

    def _whole(self) -> Video:
        if self._size < SIGNATURE_BYTES:
            self._begin()
        for box in self._stream.finish():
            self._use(box)
        cut = self._stream.begun is not None and not self._is_behind()
        if self._movie is None or self._owed or cut:
            raise InvalidMedia(TRUNCATED)
        track = _checked_track(self._movie)
        if track.reach >= self._stream.whole:
            raise InvalidMedia(TRUNCATED)
        width, height = _displayed_size(track)
        return Video(self._kind or "mov", width, height, track.shown(self._movie.scale))

    def _use(self, box: Box) -> None:
        try:
            if box.kind == b"ftyp":
                self._kind = self._kind or format_of_brands(bytes(box.body))
            elif box.kind == b"moov":
                self._read_moov(memoryview(box.body))
            elif box.kind == b"moof":
                self._read_moof(memoryview(box.body))
            elif box.kind == b"mdat":
                self._owed = False
        except struct.error as error:
            raise damaged("a box in it is shorter than what it must hold") from error

    def _read_moov(self, body: memoryview) -> None:
        if self._movie:
            raise damaged("it has two headers (moov)")
        self._movie = read_moov(self._tally, body)
        if not self._movie.fragmented:
            _checked_track(self._movie)

    def _read_moof(self, body: memoryview) -> None:
        if self._movie is None:
            raise damaged("a fragment comes before its header (moov)")
        add_moof(self._tally, self._movie, body)
        self._owed = True


def _checked_track(movie: Movie) -> Track:
    """The first video track with samples, if it keeps every limit; else raises Broken."""
    tracks = (track for track in movie.tracks.values() if track.handler == b"vide")
    track = next((track for track in tracks if track.samples), None)
    if track is None:
        raise InvalidMedia(NO_VIDEO)
    width, height = _displayed_size(track)
    if (width, height) not in ALLOWED_SIZES:
        what = f"is {width} x {height} pixels; it must be 1920 x 1080 or 1080 x 1920"
        raise _wrong_resolution(f"{what} (16:9 or 9:16, 1080p)")
    seconds, whole = track.shown(movie.scale), movie.whole()
    if not MIN_SECONDS - DURATION_TOLERANCE <= seconds <= MAX_SECONDS + DURATION_TOLERANCE:
        raise _wrong_duration(f"lasts {_decimal(seconds)} s")
    if whole > MAX_TOTAL_SECONDS:
        raise _wrong_duration(f"lasts {_decimal(whole)} s with its other tracks and gaps")
    return track


def _displayed_size(track: Track) -> tuple[int, int]:
    """Width and height as shown, of square pixels; raises Broken if there are none such."""
    if not track.shapes:
        raise damaged("its video track does not say its size")
    (width, height), *others = {(shape.width, shape.height) for shape in track.shapes}
    if others:
        raise _wrong_resolution("changes its size on the way")
    for shape in track.shapes:
        if not _is_square(*shape.pixel):
            raise _wrong_resolution("has pixels of {}:{}; they must be square".format(*shape.pixel))
    width, height = CROPPED_SIDES.get(width, width), CROPPED_SIDES.get(height, height)
    return (height, width) if _is_quarter_turn(track.matrix) else (width, height)


def _is_square(across: int, down: int) -> bool:
    """Whether a pixel of these sides is square; a side of zero says that its shape is not known."""
    unset = 0 in {across, down}
    return unset or abs(across - down) <= PIXEL_ASPECT_TOLERANCE * max(across, down)


def _is_quarter_turn(matrix: tuple[int, ...]) -> bool:
    """Whether a track's matrix (ISO/IEC 14496-12, 8.3.2: a b u c d v x y w) lays it on its side.

    An upright, mirrored or all-zero one does not; a slanting or stretching one raises Broken.
    """
    half = 1 << (MATRIX_ROUNDING_BITS - 1)
    a, b, _, c, d = (abs(value) + half >> MATRIX_ROUNDING_BITS for value in matrix[:5])
    if (a, d) == (0, 0) and b == c:
        return b > 0
    if (b, c) == (0, 0) and a == d:
        return False
    raise _wrong_resolution("is turned by less than a quarter, or stretched, when shown")


def _wrong_resolution(message: str) -> InvalidMedia:
    return InvalidMedia(Defect("resolution", message))


def _wrong_duration(finding: str) -> InvalidMedia:
    limits = (
        f"it must last {MIN_SECONDS} to {MAX_SECONDS} s, give or take {float(DURATION_TOLERANCE)} s"
    )
    return InvalidMedia(Defect("duration", f"{finding}; {limits}"))


def _decimal(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}".rstrip("0").rstrip(".")
