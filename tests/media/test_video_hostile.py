"""Hostile videos: whatever the bytes, inspection ends with a result, soon and in little memory."""

import struct
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.media.domain.defects import Defect
from service.media.domain.mp4_boxes import MAX_KEPT_BYTES
from service.media.domain.video import MAX_BYTES, REQUIRED_BOXES, Video, VideoInspector
from tests.support.mp4_boxes import (
    FTYP,
    MDAT,
    TREX,
    box,
    fragmented_file,
    minf_box,
    moof_box,
    moov_box,
    mp4_file,
    trak_box,
    trun_box,
)
from tests.support.videos import defect_code, inspect, video_file


def test_what_is_skipped_is_never_held() -> None:
    piece, reader = bytes(1 << 20), VideoInspector()
    reader.feed(FTYP + moov_box(trak_box()) + struct.pack(">I4s", 150 << 20, b"mdat"))
    tracemalloc.start()
    for _ in range(149):
        reader.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000
    assert reader.finish() == Defect("truncated", "is cut short")


def test_a_header_without_an_end_is_let_go_of_at_the_bound() -> None:
    piece, reader = bytes(1 << 20), VideoInspector()
    reader.feed(FTYP + b"\0\0\0\0moov")
    tracemalloc.start()
    fed = 0
    while reader.defect is None:
        reader.feed(piece)
        fed += len(piece)
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fed <= MAX_KEPT_BYTES + len(piece) < MAX_BYTES
    assert peak < 2 * MAX_KEPT_BYTES
    assert current < 10_000
    assert defect_code(FTYP + b"\0\0\0\0moov" + bytes(fed)) == reader.defect.code == "damaged"


FRAGMENTS = "frag_keyframe+empty_moov"
BEHIND = [
    b"\n",
    b"\r\n",
    b"<!-- generated in 0.3 s -->",
    bytes(4) + b"text, and more of it",
    bytes(range(1, 99)),  # records of a camera
    b"\0\0\0\5 is less than a header has",
    b"\0\0\0\1a header of 16 bytes, and of some size or other",
    b"\0\0\0\1cut",
    struct.pack(">I4s", MAX_BYTES, b"free"),
    struct.pack(">I4s", 80, b"free") + bytes(71),
    b"\0\0\0\x0cinfo then\0\0\0\3 this",
]


@pytest.mark.parametrize("behind", BEHIND, ids=repr)
def test_bytes_behind_a_video_are_ignored(behind: bytes) -> None:
    for flags in ("", "faststart", FRAGMENTS, "frag_keyframe", "dash"):
        data = video_file(flags=flags)
        assert inspect(data + behind) == inspect(data), flags
        assert inspect(data + behind, 1) == inspect(data), flags


@pytest.mark.parametrize("flags", ["", "faststart", FRAGMENTS])
@pytest.mark.parametrize("kind", [b"mdat", b"moof", b"moov"])
def test_a_required_box_that_is_cut_off_is_missed_wherever_it_stands(
    kind: bytes,
    flags: str,
) -> None:
    part = struct.pack(">I4s", 80, kind) + bytes(71)
    for end in (*range(5, 9), len(part)):
        assert defect_code(video_file(flags=flags) + part[:end]) == "truncated", end


EXTRA = box(b"udta", box(b"XMP_", bytes(3 << 20)))
IN_TRACK = b"trak", b"mdia", b"minf", b"stbl"


def grown(data: bytes, more: bytes, *around: bytes) -> bytes:
    """A video with `more` at the end of the box that is found through these ones."""
    if not around:
        return data + more
    at = data.index(around[0]) - 4
    end = at + int.from_bytes(data[at : at + 4])
    return data[:at] + box(around[0], grown(data[at + 8 : end], more, *around[1:])) + data[end:]


@pytest.mark.parametrize(
    "around",
    [
        (),
        (b"moov",),
        *((b"moov", *IN_TRACK[: depth + 1]) for depth in range(len(IN_TRACK))),
        (b"moov", b"mvex"),
        (b"moof",),
        (b"moof", b"traf"),
    ],
    ids=repr,
)
def test_what_is_not_needed_of_a_header_is_skipped_wherever_it_stands(
    around: tuple[bytes, ...],
) -> None:
    data = fragmented_file(
        moof_box(trun_box(3)), init=moov_box(trak_box(minf_box(samples=1)), box(b"mvex", TREX))
    )
    larger = grown(data, EXTRA, *around)
    assert len(larger) - len(data) == len(EXTRA) > MAX_KEPT_BYTES
    reader = VideoInspector()
    tracemalloc.start()
    for at in range(0, len(larger), 1 << 16):
        reader.feed(larger[at : at + (1 << 16)])
    finding = reader.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert finding == inspect(data) == Video("mp4", 1920, 1080, Fraction(4))
    assert peak < 300_000


REAL = [video_file(3, flags=flags) for flags in ("", "faststart", FRAGMENTS)]
STARTS = [b"", FTYP, FTYP + MDAT, mp4_file(), fragmented_file(moof_box(trun_box(4)))]
CUTS = st.lists(st.integers(1, 300), min_size=1, max_size=20)


def in_pieces(data: bytes, cuts: list[int]) -> Video | Defect:
    reader, at = VideoInspector(), 0
    for cut in cuts:
        reader.feed(data[at : at + cut])
        at += cut
    reader.feed(data[at:])
    return reader.finish()


@given(st.sampled_from(STARTS), st.binary(max_size=200), CUTS)
def test_hostile_bytes_are_judged_never_raise_and_do_not_depend_on_the_pieces(
    start: bytes,
    rest: bytes,
    cuts: list[int],
) -> None:
    finding = inspect(start + rest)
    assert isinstance(finding, Video | Defect)
    assert in_pieces(start + rest, cuts) == finding


BOXES = st.recursive(
    st.binary(max_size=60),
    lambda inner: st.builds(
        lambda kind, parts: box(kind, *parts),
        st.sampled_from(
            b"moov trak mdia minf stbl edts mvex moof traf mvhd tkhd mdhd hdlr elst stsd stts ctts"
            b" stsz stco co64 mehd trex tfhd tfdt trun mdat".split(),
        ),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@given(st.lists(BOXES, max_size=4))
def test_boxes_put_together_at_random_never_raise(parts: list[bytes]) -> None:
    assert isinstance(inspect(FTYP + b"".join(parts)), Video | Defect)
    assert isinstance(inspect(mp4_file(trak_box(), *parts)), Video | Defect)


@settings(max_examples=300)
@given(
    st.sampled_from([*REAL, *STARTS[3:]]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.integers(0, 200),
    CUTS,
)
def test_a_video_with_bytes_changed_or_cut_off_never_raises_nor_depends_on_the_pieces(
    real: bytes,
    changes: list[tuple[int, int]],
    cut: int,
    cuts: list[int],
) -> None:
    headers = [at for at in range(len(real)) if not real.find(b"mdat") < at < len(real) - 2000]
    data = bytearray(real)
    for at, value in changes:
        data[headers[at % len(headers)]] = value
    whole = bytes(data[: len(data) - cut])
    finding = inspect(whole)
    assert isinstance(finding, Video | Defect)
    assert in_pieces(whole, cuts) == finding


@given(st.sampled_from(REAL), st.text(st.characters(codec="ascii")), CUTS)
def test_text_behind_a_video_changes_nothing(real: bytes, text: str, cuts: list[int]) -> None:
    behind = text.encode()
    assume(not any(behind[4:8] and kind.startswith(behind[4:8]) for kind in REQUIRED_BOXES))
    assume(behind[:1] > b"\2")  # the size of a box that is not all there
    assert in_pieces(real + behind, cuts) == inspect(real)


@given(
    st.sampled_from(REAL),
    st.integers(0, len(IN_TRACK)),
    st.lists(st.binary(max_size=40), max_size=4),
    CUTS,
)
def test_boxes_that_are_not_needed_change_nothing(
    real: bytes, depth: int, parts: list[bytes], cuts: list[int]
) -> None:
    more = b"".join(box(b"what", part) for part in parts)
    assert in_pieces(grown(real, more, b"moov", *IN_TRACK[:depth]), cuts) == inspect(real)
