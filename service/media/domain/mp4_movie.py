"""What an MP4 or MOV says of its tracks in its `moov` box.

Layouts and their sections are those of ISO/IEC 14496-12. Raises Broken, or struct.error where a
box is too short for what it must hold; time is linear in the bytes.
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

# The boxes that are read, by the kind of the only one that each is looked for in. What else a file
# may carry there, as pictures and records of a camera or an editor, may be of any size.
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

TIMESCALE_AND_DURATION: VersionedLayout = (
    struct.Struct(">12xII"),
    struct.Struct(">20xIQ"),
)  # 8.2.2 mvhd, 8.4.2 mdhd
TRACK_ID_AND_MATRIX: VersionedLayout = (
    struct.Struct(">12xI24x9i"),
    struct.Struct(">20xI28x9i"),
)  # 8.3.2 tkhd
FRAGMENT_TIME: VersionedLayout = (
    struct.Struct(">4xI"),
    struct.Struct(">4xQ"),
)  # 8.8.2 mehd, 8.8.12 tfdt
EDIT_ENTRY: VersionedLayout = struct.Struct(">Ii4x"), struct.Struct(">Qq4x")  # 8.6.6 elst
UNKNOWN_DURATIONS = frozenset({2**32 - 1, 2**64 - 1})  # 8.2.2: a duration that is not known

SAMPLE_COUNT = struct.Struct(">8xI")  # 8.7.3 stsz and stz2
STTS_ENTRY = struct.Struct(">II")  # 8.6.1.2 stts: samples, ticks of each
CTTS_ENTRY = struct.Struct(">4xi")  # 8.6.1.3 ctts: samples, ticks from decoding to showing
STCO_ENTRY, CO64_ENTRY = struct.Struct(">I"), struct.Struct(">Q")  # 8.7.5 stco, co64
VISUAL_ENTRY_SIZE = struct.Struct(">24xHH")  # 12.1.3: width, height
VISUAL_ENTRY_BYTES = 78  # what a visual sample entry holds before its own boxes
PASP = struct.Struct(">II")  # 12.1.4: horizontal, vertical
TREX = struct.Struct(">4xI4xI")  # 8.8.3: track, ticks of a sample
EMPTY_EDIT = -1  # the media time of an edit that shows nothing


@dataclass(frozen=True, slots=True)
class VisualSampleEntry:
    """The size of one kind of sample in pixels, and the shape of a pixel."""

    width: int
    height: int
    pixel: tuple[int, int] = (1, 1)


@dataclass(slots=True)
class Track:
    """One track. Its times are in 1/`scale` s: the first sample is decoded at `origin` and shown
    `offset` later, all together last `ticks`, and `end` is the latest end that is claimed.
    An edit is a length in the movie's ticks and a start in the track's own."""

    handler: bytes
    scale: int
    matrix: tuple[int, ...]
    edits: list[tuple[int, int]]
    shapes: list[VisualSampleEntry]
    samples: int
    ticks: int
    end: int
    offset: int
    origin: int = 0
    reach: int = 0
    """Where the last chunk of samples begins, in bytes from the file's start."""
    default: int | None = None
    """The usual ticks of a sample in fragments; None: the track has none."""

    def shown(self, movie_scale: int) -> Fraction:
        """Seconds it is shown: its edits without the empty ones, no longer than its samples."""
        if not self.edits:
            return Fraction(self.ticks, self.scale)
        both = 0  # in 1/(scale * movie_scale) s
        for length, start in self.edits:
            if start != EMPTY_EDIT:
                late = max(0, start - self.origin - self.offset)
                rest = max(0, self.ticks - late) * movie_scale
                both += min(length * self.scale, rest) if length else rest
        return Fraction(both, self.scale * movie_scale)

    def whole(self, movie_scale: int) -> Fraction:
        """Seconds from the movie's start to its end, by the latest of its own claims."""
        edits = Fraction(sum(length for length, _ in self.edits), movie_scale)
        length, start = self.edits[-1] if self.edits else (0, 0)
        if length:
            return edits
        return edits + Fraction(max(0, self.end - start), self.scale)


@dataclass(slots=True)
class Movie:
    scale: int
    claimed: int
    tracks: dict[int, Track] = field(default_factory=dict)
    fragmented: bool = False

    @property
    def begins(self) -> bool:
        """Whether any track has samples so far."""
        return any(track.samples for track in self.tracks.values())

    def whole(self) -> Fraction:
        """Seconds it lasts, by the latest of all claims."""
        ends = (track.whole(self.scale) for track in self.tracks.values() if track.samples)
        return max(Fraction(self.claimed, self.scale), *ends, Fraction(0))


def read_moov(tally: BoxBudget, data: memoryview) -> Movie:
    """The movie that a `moov` box describes, so far without its fragments. Of the box there is
    only what is WANTED."""
    boxes = list(tally.inside(data))
    kinds = [kind for kind, _ in boxes]
    if b"cmov" in kinds:
        raise damaged("its header is compressed (cmov), which no longer is read")
    if b"mvhd" not in kinds:
        raise damaged("its header (moov) has no mvhd box")
    scale, length = unpack_versioned(boxes[kinds.index(b"mvhd")][1], TIMESCALE_AND_DURATION)
    movie = Movie(_checked_timescale(scale), _known_duration(length), fragmented=b"mvex" in kinds)
    for kind, body in boxes:
        if kind == b"trak":
            _read_trak(tally, movie, body)
    for kind, body in boxes:
        if kind == b"mvex":
            _read_mvex(tally, movie, body)
    return movie


def _known_duration(length: int) -> int:
    return 0 if length in UNKNOWN_DURATIONS else length


def _checked_timescale(scale: int) -> int:
    if scale == 0:
        raise damaged("it counts time in units of 1/0 s")
    return scale


def _read_table(body: memoryview | None, entry: struct.Struct) -> Iterator[tuple[Any, ...]]:
    """The entries of a table, which must all be there; none if there is no table."""
    if body is None:
        return iter(())
    (count,) = ENTRY_COUNT.unpack_from(body)
    entries = body[ENTRY_COUNT.size : ENTRY_COUNT.size + count * entry.size]
    if len(entries) != count * entry.size:
        raise damaged("a table in it has fewer entries than it says")
    return entry.iter_unpack(entries)


def _leaf_boxes(tally: BoxBudget, data: memoryview) -> dict[bytes, memoryview]:
    """The boxes below this one that hold no others, by kind; of several, the first."""
    found: dict[bytes, memoryview] = {}
    for kind, body in tally.inside(data):
        found = (_leaf_boxes(tally, body) if kind in SELECTED_BOXES else {kind: body}) | found
    return found


def _read_trak(tally: BoxBudget, movie: Movie, data: memoryview) -> None:
    boxes = _leaf_boxes(tally, data)
    if not {b"tkhd", b"mdhd", b"hdlr"} <= boxes.keys():
        raise damaged("a track in it lacks a header")
    number, *matrix = unpack_versioned(boxes[b"tkhd"], TRACK_ID_AND_MATRIX)
    scale, length = unpack_versioned(boxes[b"mdhd"], TIMESCALE_AND_DURATION)
    handler = bytes(boxes[b"hdlr"][8:12])
    length = _known_duration(length)
    ticks = sum(count * each for count, each in _read_table(boxes.get(b"stts"), STTS_ENTRY))
    (offset,) = next(_read_table(boxes.get(b"ctts"), CTTS_ENTRY), (0,))
    sizes = boxes.get(b"stsz") or boxes.get(b"stz2")
    shorter = length and not movie.fragmented  # of two claims the shorter, as decoders have it
    track = Track(
        handler=handler,
        scale=_checked_timescale(scale),
        matrix=tuple(matrix),
        edits=list(_read_elst(tally, boxes.get(b"elst"))),
        shapes=list(_read_stsd(tally, boxes.get(b"stsd"))) if handler == b"vide" else [],
        samples=SAMPLE_COUNT.unpack_from(sizes)[0] if sizes else 0,
        ticks=min(ticks, length) if shorter else ticks,
        end=max(ticks + offset, length),
        offset=offset,
        reach=_last_chunk_offset(boxes),
    )
    if movie.tracks.setdefault(number, track) is not track:
        raise damaged("two tracks in it have the same number")


def _last_chunk_offset(boxes: dict[bytes, memoryview]) -> int:
    chunks = (
        _read_table(boxes.get(b"stco"), STCO_ENTRY),
        _read_table(boxes.get(b"co64"), CO64_ENTRY),
    )
    return max((at for table in chunks for (at,) in table), default=0)


def _read_elst(tally: BoxBudget, body: memoryview | None) -> Iterator[tuple[int, int]]:
    for length, start in _read_table(body, layout_of_version(body, EDIT_ENTRY)) if body else ():
        tally.spend(1)
        yield length, start


def _read_stsd(tally: BoxBudget, body: memoryview | None) -> Iterator[VisualSampleEntry]:
    if body is None:
        return
    for _, entry in tally.inside(body[ENTRY_COUNT.size :]):
        width, height = VISUAL_ENTRY_SIZE.unpack_from(entry)
        pixel = (1, 1)
        for kind, within in tally.inside(entry[VISUAL_ENTRY_BYTES:]):
            if kind == b"pasp":
                pixel = PASP.unpack_from(within)
        yield VisualSampleEntry(width, height, pixel)


def _read_mvex(tally: BoxBudget, movie: Movie, data: memoryview) -> None:
    for kind, body in tally.inside(data):
        if kind == b"mehd":
            movie.claimed = max(
                movie.claimed, _known_duration(unpack_versioned(body, FRAGMENT_TIME)[0])
            )
        else:  # trex
            number, ticks = TREX.unpack_from(body)
            if number in movie.tracks:
                movie.tracks[number].default = ticks
