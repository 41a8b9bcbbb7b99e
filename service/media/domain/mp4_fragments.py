"""Reading fragments of an MP4: the samples that each `moof` box adds to the tracks of its `moov`.

Layouts and their sections are those of ISO/IEC 14496-12. Raises InvalidMedia, or struct.error where
a box is too short for what it must hold. Time is linear in the bytes.
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

SELECTED_BOXES: BoxSelection = MappingProxyType(
    {b"moof": frozenset({b"traf"}), b"traf": frozenset({b"tfhd", b"tfdt", b"trun"})}
)

UINT32 = struct.Struct(">I")  # a full box's version and flags, and each of its optional fields
TFHD = struct.Struct(">II")  # 8.8.7: flags, track
# Flags of optional fields, with the bytes of each.
TFHD_SKIPPED_FIELDS = {0x1: 8, 0x2: 4}  # before the default duration
TFHD_DEFAULT_DURATION = 0x8
TRUN_SKIPPED_FIELDS = {0x1: 4, 0x4: 4}  # 8.8.8: before the samples
TRUN_SAMPLE_FIELDS = {0x100: 4, 0x200: 4, 0x400: 4, 0x800: 4}  # of each sample
TRUN_SAMPLE_DURATION, TRUN_COMPOSITION_OFFSET = 0x100, 0x800  # first and last of these


def add_moof(budget: BoxBudget, movie: Movie, data: memoryview) -> None:
    """Add a fragment's samples to the movie's tracks, from the SELECTED_BOXES of a `moof` box."""
    for _, body in budget.children(data):
        _add_traf(budget, movie, body)


def _optional_size(flags: int, fields: dict[int, int]) -> int:
    return sum(size for flag, size in fields.items() if flags & flag)


def _read_tfhd(movie: Movie, body: memoryview) -> tuple[Track, int]:
    """The track that a fragment belongs to, and the default duration of its samples."""
    flags, track_id = TFHD.unpack_from(body)
    track = movie.tracks.get(track_id)
    if track is None or track.default_sample_duration is None:
        raise damaged("it has a fragment of a track that it does not announce")
    if not flags & TFHD_DEFAULT_DURATION:
        return track, track.default_sample_duration
    at = TFHD.size + _optional_size(flags, TFHD_SKIPPED_FIELDS)
    return track, UINT32.unpack_from(body, at)[0]


def _add_traf(budget: BoxBudget, movie: Movie, data: memoryview) -> None:
    boxes = list(budget.children(data))
    tfhd = next((body for box_type, body in boxes if box_type == b"tfhd"), data[:0])
    track, default_duration = _read_tfhd(movie, tfhd)
    is_first = track.sample_count == 0
    duration, decode_time = 0, track.first_decode_time + track.duration
    for box_type, body in boxes:
        if box_type == b"tfdt":
            (decode_time,) = unpack_versioned(body, FRAGMENT_TIME)
        elif box_type == b"trun":
            duration += _add_trun(track, body, default_duration)
    if is_first:
        track.first_decode_time = decode_time
    end = decode_time + duration
    track.duration = max(track.duration, end - track.first_decode_time)
    track.declared_end = max(track.declared_end, end + track.composition_offset)


def _add_trun(track: Track, body: memoryview, default_duration: int) -> int:
    """Count the samples of a run into its track; returns the duration of them all."""
    (flags,) = UINT32.unpack_from(body)
    (count,) = ENTRY_COUNT.unpack_from(body)
    size = _optional_size(flags, TRUN_SAMPLE_FIELDS)
    at = ENTRY_COUNT.size + _optional_size(flags, TRUN_SKIPPED_FIELDS)
    samples = body[at : at + count * size]
    if len(samples) != count * size:
        raise damaged("a fragment in it has fewer samples than it says")
    if count and not track.sample_count:
        track.composition_offset = 0
        if flags & TRUN_COMPOSITION_OFFSET:
            (track.composition_offset,) = struct.unpack_from(">i", samples, size - UINT32.size)
    track.sample_count += count
    if not flags & TRUN_SAMPLE_DURATION:
        return int(count * default_duration)
    sample = struct.Struct(f">I{size - UINT32.size}x")
    return sum(duration for (duration,) in sample.iter_unpack(samples))
