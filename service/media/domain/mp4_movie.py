"""Reading the tracks of an MP4 or MOV from its `moov` box: their sizes, durations and edits.

Layouts and their sections are those of ISO/IEC 14496-12. Raises InvalidMedia, or struct.error where
a box is too short for what it must hold. Time is linear in the bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from service.media.domain.mp4_boxes import (
    ENTRY_COUNT,
    BoxBudget,
    BoxSelection,
    VersionedLayout,
    damaged,
    layout_of_version,
    unpack_versioned,
)

# What else a file carries in these boxes, as pictures and records of a camera or an editor, may be
# of any size, and is not read.
SELECTED_BOXES: BoxSelection = MappingProxyType(
    {
        b"moov": frozenset({b"mvhd", b"trak", b"mvex", b"cmov"}),
        b"mvex": frozenset({b"mehd", b"trex"}),
        b"trak": frozenset({b"tkhd", b"edts", b"mdia"}),
        b"edts": frozenset({b"elst"}),
        b"mdia": frozenset({b"mdhd", b"hdlr", b"minf"}),
        b"minf": frozenset({b"stbl"}),
        b"stbl": frozenset({b"stsd", b"stts", b"ctts", b"stsz", b"stz2", b"stco", b"co64"}),
    }
)

# 8.2.2 mvhd, 8.4.2 mdhd
TIMESCALE_AND_DURATION: VersionedLayout = struct.Struct(">12xII"), struct.Struct(">20xIQ")
# 8.3.2 tkhd
TRACK_ID_AND_MATRIX: VersionedLayout = struct.Struct(">12xI24x9i"), struct.Struct(">20xI28x9i")
# 8.8.2 mehd, 8.8.12 tfdt
FRAGMENT_TIME: VersionedLayout = struct.Struct(">4xI"), struct.Struct(">4xQ")
EDIT_ENTRY: VersionedLayout = struct.Struct(">Ii4x"), struct.Struct(">Qq4x")  # 8.6.6 elst
UNKNOWN_DURATIONS = frozenset({2**32 - 1, 2**64 - 1})  # 8.2.2: all bits are set

SAMPLE_COUNT = struct.Struct(">8xI")  # 8.7.3 stsz and stz2
STTS_ENTRY = struct.Struct(">II")  # 8.6.1.2 stts: samples, duration of each
CTTS_ENTRY = struct.Struct(">4xi")  # 8.6.1.3 ctts: time from decoding to composition
STCO_ENTRY, CO64_ENTRY = struct.Struct(">I"), struct.Struct(">Q")  # 8.7.5 stco, co64
VISUAL_ENTRY_SIZE = struct.Struct(">24xHH")  # 12.1.3: width, height
VISUAL_ENTRY_BYTES = 78  # what a visual sample entry holds before its own boxes
PASP = struct.Struct(">II")  # 12.1.4: horizontal, vertical
TREX = struct.Struct(">4xI4xI")  # 8.8.3: track, duration of a sample
EMPTY_EDIT = -1  # the media time of an edit that shows nothing


@dataclass(frozen=True, slots=True)
class VisualSampleEntry:
    """How one kind of a track's samples is coded."""

    width: int  # pixels
    height: int  # pixels
    pixel_aspect: tuple[int, int] = (1, 1)  # width to height of a pixel; a 0: it is not known


@dataclass(slots=True)
class Track:
    """One track of a movie, with the samples of the fragments read so far."""

    handler: bytes  # what it holds: b"vide", b"soun", …
    timescale: int  # units a second, in which all times of the track are
    matrix: tuple[int, ...]  # 8.3.2 tkhd: how its picture is turned
    edits: list[tuple[int, int]]  # duration in the movie's timescale, media time in the track's
    sample_entries: list[VisualSampleEntry]  # empty unless it is a video track
    sample_count: int  # so far
    duration: int  # of all samples together
    declared_end: int  # the latest end that any of its boxes states
    composition_offset: int  # from the first sample's decoding to its composition
    first_decode_time: int = 0  # of its first sample
    last_chunk_offset: int = 0  # bytes from the file's start to the last chunk of samples
    default_sample_duration: int | None = None  # in fragments; None: the track has none

    def shown_seconds(self, movie_timescale: int) -> Fraction:
        """Seconds that are shown: the edits without the empty ones, within the samples."""
        if not self.edits:
            return Fraction(self.duration, self.timescale)
        shown = 0  # in 1/(timescale * movie_timescale) s
        for duration, media_time in self.edits:
            if media_time != EMPTY_EDIT:
                skipped = max(0, media_time - self.first_decode_time - self.composition_offset)
                rest = max(0, self.duration - skipped) * movie_timescale
                shown += min(duration * self.timescale, rest) if duration else rest
        return Fraction(shown, self.timescale * movie_timescale)

    def total_seconds(self, movie_timescale: int) -> Fraction:
        """Seconds from the movie's start to the latest end that the track states."""
        edited = Fraction(sum(duration for duration, _ in self.edits), movie_timescale)
        last_duration, media_time = self.edits[-1] if self.edits else (0, 0)
        if last_duration:
            return edited
        return edited + Fraction(max(0, self.declared_end - media_time), self.timescale)


@dataclass(slots=True)
class Movie:
    """What a `moov` box states, and the fragments behind it add."""

    timescale: int  # units a second
    declared_duration: int  # in the timescale; 0: it is not stated
    tracks: dict[int, Track] = field(default_factory=dict)  # by track id
    fragmented: bool = False  # `moof` boxes may follow

    @property
    def has_samples(self) -> bool:
        """Whether any track has samples so far."""
        return any(track.sample_count for track in self.tracks.values())

    def total_seconds(self) -> Fraction:
        """Seconds from its start to the latest end that it or a track with samples states."""
        tracks = (track for track in self.tracks.values() if track.sample_count)
        ends = (track.total_seconds(self.timescale) for track in tracks)
        return max(Fraction(self.declared_duration, self.timescale), *ends, Fraction(0))


def read_moov(budget: BoxBudget, data: memoryview) -> Movie:
    """Read a movie, so far without its fragments, from the SELECTED_BOXES of a `moov` box."""
    boxes = list(budget.children(data))
    types = [box_type for box_type, _ in boxes]
    if b"cmov" in types:
        raise damaged("its header is compressed (cmov), which is not supported")
    if b"mvhd" not in types:
        raise damaged("its header (moov) has no mvhd box")
    mvhd = boxes[types.index(b"mvhd")][1]
    timescale, duration = _timescale_and_duration(mvhd)
    movie = Movie(timescale, duration, fragmented=b"mvex" in types)
    for box_type, body in boxes:
        if box_type == b"trak":
            _read_trak(budget, movie, body)
    for box_type, body in boxes:
        if box_type == b"mvex":
            _read_mvex(budget, movie, body)
    return movie


def _timescale_and_duration(body: memoryview) -> tuple[int, int]:
    timescale, duration = unpack_versioned(body, TIMESCALE_AND_DURATION)
    if timescale == 0:
        raise damaged("its timescale is 0")
    return timescale, _known_duration(duration)


def _known_duration(duration: int) -> int:
    return 0 if duration in UNKNOWN_DURATIONS else duration


def _read_table(body: memoryview | None, entry: struct.Struct) -> Iterator[tuple[Any, ...]]:
    """The entries of a table, which must all be there; none if there is no table."""
    if body is None:
        return iter(())
    (count,) = ENTRY_COUNT.unpack_from(body)
    entries = body[ENTRY_COUNT.size : ENTRY_COUNT.size + count * entry.size]
    if len(entries) != count * entry.size:
        raise damaged("a table in it has fewer entries than it says")
    return entry.iter_unpack(entries)


def _leaf_boxes(budget: BoxBudget, data: memoryview) -> dict[bytes, memoryview]:
    """Content of the boxes below this one that hold no others, by type; of several, the first."""
    leaves: dict[bytes, memoryview] = {}
    for box_type, body in budget.children(data):
        below = _leaf_boxes(budget, body) if box_type in SELECTED_BOXES else {box_type: body}
        leaves = below | leaves
    return leaves


def _read_trak(budget: BoxBudget, movie: Movie, data: memoryview) -> None:
    boxes = _leaf_boxes(budget, data)
    if not {b"tkhd", b"mdhd", b"hdlr"} <= boxes.keys():
        raise damaged("a track in it lacks a header")
    track_id, *matrix = unpack_versioned(boxes[b"tkhd"], TRACK_ID_AND_MATRIX)
    timescale, declared = _timescale_and_duration(boxes[b"mdhd"])
    handler = bytes(boxes[b"hdlr"][8:12])
    duration = sum(count * each for count, each in _read_table(boxes.get(b"stts"), STTS_ENTRY))
    (offset,) = next(_read_table(boxes.get(b"ctts"), CTTS_ENTRY), (0,))
    sizes = boxes.get(b"stsz") or boxes.get(b"stz2")
    shorter = declared and not movie.fragmented  # of two durations the shorter, as in decoders
    track = Track(
        handler=handler,
        timescale=timescale,
        matrix=tuple(matrix),
        edits=list(_read_elst(budget, boxes.get(b"elst"))),
        sample_entries=list(_read_stsd(budget, boxes.get(b"stsd"))) if handler == b"vide" else [],
        sample_count=SAMPLE_COUNT.unpack_from(sizes)[0] if sizes else 0,
        duration=min(duration, declared) if shorter else duration,
        declared_end=max(duration + offset, declared),
        composition_offset=offset,
        last_chunk_offset=_last_chunk_offset(boxes),
    )
    if movie.tracks.setdefault(track_id, track) is not track:
        raise damaged("two tracks in it have the same number")


def _last_chunk_offset(boxes: dict[bytes, memoryview]) -> int:
    tables = ((b"stco", STCO_ENTRY), (b"co64", CO64_ENTRY))
    chunks = (_read_table(boxes.get(box_type), entry) for box_type, entry in tables)
    return max((offset for table in chunks for (offset,) in table), default=0)


def _read_elst(budget: BoxBudget, body: memoryview | None) -> Iterator[tuple[int, int]]:
    if not body:
        return
    for duration, media_time in _read_table(body, layout_of_version(body, EDIT_ENTRY)):
        budget.spend(1)
        yield duration, media_time


def _read_stsd(budget: BoxBudget, body: memoryview | None) -> Iterator[VisualSampleEntry]:
    if body is None:
        return
    for _, entry in budget.children(body[ENTRY_COUNT.size :]):
        width, height = VISUAL_ENTRY_SIZE.unpack_from(entry)
        pixel_aspect = (1, 1)
        for box_type, content in budget.children(entry[VISUAL_ENTRY_BYTES:]):
            if box_type == b"pasp":
                pixel_aspect = PASP.unpack_from(content)
        yield VisualSampleEntry(width, height, pixel_aspect)


def _read_mvex(budget: BoxBudget, movie: Movie, data: memoryview) -> None:
    for box_type, body in budget.children(data):
        if box_type == b"mehd":
            (duration,) = unpack_versioned(body, FRAGMENT_TIME)
            movie.declared_duration = max(movie.declared_duration, _known_duration(duration))
        else:  # trex
            track_id, duration = TREX.unpack_from(body)
            if track_id in movie.tracks:
                movie.tracks[track_id].default_sample_duration = duration
