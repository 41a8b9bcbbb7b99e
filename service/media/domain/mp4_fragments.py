"""What each fragment of an MP4, a `moof` box, adds to the tracks that its `moov` announced.

Layouts and their sections are those of ISO/IEC 14496-12. Raises Broken, or struct.error where a
box is too short for what it must hold; time is linear in the bytes.
"""

import struct
from types import MappingProxyType

from service.media.domain.mp4_boxes import (
    ENTRY_COUNT,
    BoxBudget,
    BoxSelection,
    damaged,
    unpack_versioned,
)
from service.media.domain.mp4_movie import FRAGMENT_TIME, Movie, Track

SELECTED_BOXES: BoxSelection = (
    MappingProxyType(  # the boxes that are read, by the kind of the one they are in
        {b"moof": frozenset({b"traf"}), b"traf": frozenset({b"tfhd", b"tfdt", b"trun"})}
    )
)

UINT32 = struct.Struct(">I")  # a full box's version and flags, and each of its optional fields
TFHD = struct.Struct(">II")  # 8.8.7: flags, track
TFHD_SKIPPED_FIELDS = {0x1: 8, 0x2: 4}  # its optional fields before the ticks of a sample
TFHD_DEFAULT_DURATION = 0x8
TRUN_SKIPPED_FIELDS = {0x1: 4, 0x4: 4}  # 8.8.8: optional fields before the samples
TRUN_SAMPLE_FIELDS = {0x100: 4, 0x200: 4, 0x400: 4, 0x800: 4}  # optional fields of each sample
TRUN_SAMPLE_DURATION, TRUN_COMPOSITION_OFFSET = 0x100, 0x800


def add_moof(tally: BoxBudget, movie: Movie, data: memoryview) -> None:
    """Adds the samples of a fragment to the movie's tracks. Of its box there is only what is
    WANTED."""
    for _, body in tally.inside(data):
        _add_traf(tally, movie, body)


def _optional_size(flags: int, fields: dict[int, int]) -> int:
    return sum(size for flag, size in fields.items() if flags & flag)


def _read_tfhd(movie: Movie, head: memoryview) -> tuple[Track, int]:
    """The track that a fragment with this `tfhd` belongs to, and the usual ticks of its samples."""
    flags, number = TFHD.unpack_from(head)
    track = movie.tracks.get(number)
    if track is None or track.default is None:
        raise damaged("it has a fragment of a track that it does not announce")
    if not flags & TFHD_DEFAULT_DURATION:
        return track, track.default
    return track, UINT32.unpack_from(head, TFHD.size + _optional_size(flags, TFHD_SKIPPED_FIELDS))[
        0
    ]


def _add_traf(tally: BoxBudget, movie: Movie, data: memoryview) -> None:
    boxes = list(tally.inside(data))
    head = next((body for kind, body in boxes if kind == b"tfhd"), data[:0])
    track, default = _read_tfhd(movie, head)
    first = track.samples == 0
    ticks, began = 0, track.origin + track.ticks
    for kind, body in boxes:
        if kind == b"tfdt":
            (began,) = unpack_versioned(body, FRAGMENT_TIME)
        elif kind == b"trun":
            ticks += _add_trun(track, body, default)
    if first:
        track.origin = began
    track.ticks = max(track.ticks, began + ticks - track.origin)
    track.end = max(track.end, began + ticks + track.offset)


def _add_trun(track: Track, body: memoryview, default: int) -> int:
    """Counts the samples of a run; what they last."""
    (flags,) = UINT32.unpack_from(body)
    (count,) = ENTRY_COUNT.unpack_from(body)
    size = _optional_size(flags, TRUN_SAMPLE_FIELDS)
    at = ENTRY_COUNT.size + _optional_size(flags, TRUN_SKIPPED_FIELDS)
    samples = body[at : at + count * size]
    if len(samples) != count * size:
        raise damaged("a fragment in it has fewer samples than it says")
    if count and not track.samples:
        shift = UINT32.size if flags & TRUN_COMPOSITION_OFFSET else 0
        track.offset = struct.unpack_from(">i", samples, size - shift)[0] if shift else 0
    track.samples += count
    if not flags & TRUN_SAMPLE_DURATION:
        return int(count * default)
    each = struct.Struct(f">I{size - UINT32.size}x")
    return sum(ticks for (ticks,) in each.iter_unpack(samples))
