"""Videos: both sides of every limit on real files, held against what PyAV says of them."""

import struct
from fractions import Fraction
from typing import Any

import pytest

from service.media.domain.defects import Defect
from service.media.domain.video import MAX_BYTES, TOO_LARGE, Video, VideoInspector
from tests.support.mp4_boxes import NOT_ROTATED, ROTATED_LEFT, ROTATED_RIGHT, patch_box
from tests.support.videos import (
    FULL_HD,
    VIDEO_TIMESCALE,
    defect_code,
    inspect,
    read_by_pyav,
    video_file,
)

TICK = Fraction(1, VIDEO_TIMESCALE)
HALF_TURN = tuple(-number for number in NOT_ROTATED[:8]) + NOT_ROTATED[8:]
SLANTED = (46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)
STRETCHED = (65536, 0, 0, 0, 49152, 0, 0, 0, 1 << 30)
FRAGMENTS = "frag_keyframe+empty_moov"
SPECS: list[dict[str, Any]] = [
    {},
    {"flags": "faststart"},
    {"flags": "faststart", "b_frames": 2, "audio_seconds": 4},
    {"b_frames": 2},
    {"b_frames": 2, "flags": "negative_cts_offsets"},
    {"codec": "mpeg4"},
    {"start": Fraction(3, 2)},
    {"audio_seconds": 4},
    {"flags": "prefer_icc+write_colr"},
    {"flags": "hybrid_fragmented"},
    {"flags": "frag_keyframe"},
    {"flags": "frag_keyframe", "start": 2},
    {"flags": FRAGMENTS},
    {"flags": FRAGMENTS, "b_frames": 2},
    {"flags": FRAGMENTS + "+delay_moov", "b_frames": 2, "audio_seconds": 4},
    {"flags": FRAGMENTS + "+default_base_moof+frag_every_frame"},
    {"flags": FRAGMENTS + "+default_base_moof+frag_every_frame", "audio_seconds": 4},
    {"flags": FRAGMENTS + "+omit_tfhd_offset+separate_moof"},
    {"flags": "dash"},
    {"flags": "dash+global_sidx", "audio_seconds": 4},
]


def tilted(matrix: tuple[int, ...], data: bytes) -> bytes:
    return patch_box(data, b"tkhd", 40, struct.pack(">9i", *matrix))


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize("how", SPECS, ids=str)
def test_a_real_video_is_measured_as_pyav_measures_it(kind: str, how: dict[str, Any]) -> None:
    data = video_file(kind=kind, **how)
    finding, video = read_by_pyav(data), inspect(data)
    assert isinstance(video, Video)
    assert (video.format, video.width, video.height) == (kind, finding.width, finding.height)
    assert video.seconds == finding.seconds


@pytest.mark.parametrize("size", [FULL_HD, (1920, 1088), FULL_HD[::-1], (1088, 1920)])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_full_hd_lying_or_standing_is_taken_with_and_without_its_padding(
    codec: str,
    size: tuple[int, int],
) -> None:
    video = inspect(video_file(size=size, codec=codec))
    assert isinstance(video, Video)
    assert sorted((video.width, video.height)) == [1080, 1920]
    assert (video.width < video.height) == (size[0] < size[1])


@pytest.mark.parametrize(
    ("size", "pixel"),
    [
        ((1918, 1080), 1),
        ((1922, 1080), 1),
        ((1920, 1078), 1),
        ((1920, 1082), 1),
        ((1920, 1086), 1),
        ((1920, 1090), 1),
        ((1280, 720), 1),
        ((720, 1280), 1),
        ((1440, 1080), 1),
        ((1440, 1080), Fraction(4, 3)),
        ((1080, 1080), 1),
        (FULL_HD, Fraction(64, 63)),
    ],
)
def test_any_other_size_and_any_pixel_that_is_not_square_is_refused(
    size: tuple[int, int],
    pixel: Fraction | int,
) -> None:
    defect = inspect(video_file(1, size, pixel_aspect=pixel))
    assert isinstance(defect, Defect)
    assert defect.code == "resolution"
    shown = f"{size[0]} x {size[1]}" if pixel == 1 else f"{Fraction(pixel).numerator}:"
    assert shown in defect.message


@pytest.mark.parametrize("size", [FULL_HD, FULL_HD[::-1]])
@pytest.mark.parametrize(
    ("matrix", "turned"),
    [(NOT_ROTATED, 0), (ROTATED_LEFT, 90), (HALF_TURN, 180), (ROTATED_RIGHT, 270)],
)
def test_a_video_is_as_wide_and_high_as_its_matrix_shows_it(
    size: tuple[int, int],
    matrix: tuple[int, ...],
    turned: int,
) -> None:
    data = tilted(matrix, video_file(size=size))
    finding, video = read_by_pyav(data), inspect(data)
    assert finding.rotation % 360 == turned
    assert isinstance(video, Video)
    assert (video.width, video.height) == (size[::-1] if turned % 180 else size)


@pytest.mark.parametrize("matrix", [SLANTED, STRETCHED])
def test_a_video_shown_slanted_or_stretched_is_refused(matrix: tuple[int, ...]) -> None:
    assert defect_code(tilted(matrix, video_file())) == "resolution"


def test_a_matrix_of_zeros_or_one_that_is_rounded_or_mirrored_turns_nothing() -> None:
    rounded = (65535, 3, 0, -3, 65537, 0, 0, 0, 1 << 30)
    for matrix in ((0,) * 9, rounded, (-65536, *NOT_ROTATED[1:])):
        assert inspect(tilted(matrix, video_file())) == inspect(video_file())


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize("flags", ["", "faststart", "use_metadata_tags", FRAGMENTS])
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (Fraction("2.95"), "good"),
        (Fraction("2.95") - TICK, "duration"),
        (3, "good"),
        (Fraction(11, 2), "good"),
        (8, "good"),
        (Fraction("8.008"), "good"),
        (Fraction("8.05"), "good"),
        (Fraction("8.05") + TICK, "duration"),
        (9, "duration"),
        (Fraction(1, 2), "duration"),
    ],
)
def test_three_to_eight_seconds_are_taken_give_or_take_a_twentieth_and_a_tick_beyond_is_not(
    kind: str,
    flags: str,
    seconds: Fraction | int,
    expected: str,
) -> None:
    data = video_file(seconds, kind=kind, flags=flags)
    assert read_by_pyav(data).seconds == seconds
    assert defect_code(data) == expected


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize("flags", ["", FRAGMENTS])
@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (2, "good"),
        (8, "good"),
        (Fraction("8.1"), "good"),
        (Fraction("8.25"), "duration"),
        (10, "duration"),
    ],
)
def test_sound_may_last_a_little_longer_than_a_video_may(
    kind: str,
    flags: str,
    sound: Fraction | int,
    expected: str,
) -> None:
    assert defect_code(video_file(7, kind=kind, flags=flags, audio_seconds=sound)) == expected


def test_eight_seconds_of_picture_and_of_sound_are_taken_together() -> None:
    for flags in ("", "faststart", FRAGMENTS + "+delay_moov"):
        assert defect_code(video_file(8, flags=flags, audio_seconds=8, b_frames=2)) == "good"
        longest = Fraction("8.05")
        assert (
            defect_code(video_file(longest, flags=flags, audio_seconds=longest, b_frames=2))
            == "good"
        )


def test_time_before_the_first_picture_counts_for_the_file_and_not_for_the_picture() -> None:
    assert defect_code(video_file(7, start=1)) == "good"
    assert defect_code(video_file(8, start=1)) == "duration"
    assert defect_code(video_file(Fraction(5, 2), start=1)) == "duration"


def test_pictures_that_come_late_for_their_order_count_like_time_before_the_first() -> None:
    """Two B-frames and no edit list to hide them: here one second. PyAV counts it as picture."""
    how: dict[str, Any] = {"flags": "dash+global_sidx", "b_frames": 2}
    data = video_file(**how)
    assert inspect(data) == Video("mp4", *FULL_HD, read_by_pyav(data).seconds - 1)
    assert defect_code(video_file(8, **how)) == "duration"


def test_an_edit_shows_a_part_of_what_is_there() -> None:
    longer = video_file(12)
    assert defect_code(longer) == "duration"
    shown = patch_box(patch_box(longer, b"elst", 8, (5_000).to_bytes(4)), b"mvhd", 16, bytes(4))
    assert inspect(shown) == Video("mp4", *FULL_HD, Fraction(5))
    assert read_by_pyav(shown).seconds == 5


def test_sound_alone_is_no_video() -> None:
    for flags in ("", FRAGMENTS):
        assert defect_code(video_file(codec="", audio_seconds=4, flags=flags)) == "no_video"


def test_two_hundred_million_bytes_are_taken_and_one_more_is_not() -> None:
    data, rest = video_file(flags="faststart"), b"\0" * 1_000_000
    reader = VideoInspector()
    reader.feed(data + struct.pack(">I4s", MAX_BYTES - len(data), b"free"))
    left = MAX_BYTES - len(data) - 8
    for _ in range(left // len(rest)):
        reader.feed(rest)
    reader.feed(rest[: left % len(rest)])
    assert reader.defect is None
    full = reader.finish()
    assert full == inspect(data)
    reader.feed(b"\0")
    assert reader.finish() == TOO_LARGE


def test_a_box_that_ends_too_late_is_known_before_it_is_read() -> None:
    data = video_file()
    for size, too_large in ((MAX_BYTES - len(data), False), (MAX_BYTES - len(data) + 1, True)):
        for begun in (b"mdat", b"free"):
            start = data if begun == b"mdat" else data[: data.index(b"moov") - 4]
            more = struct.pack(">I4s", size + len(data) - len(start), begun)
            reader = VideoInspector()
            reader.feed(start + more)
            assert (reader.defect is not None) == too_large
            assert defect_code(start + more) == ("too_large" if too_large else "truncated")


@pytest.mark.parametrize("how", [{}, {"flags": "faststart"}, {"flags": FRAGMENTS}], ids=str)
@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_a_video_cut_before_its_last_samples_end_is_cut_short(
    kind: str,
    how: dict[str, Any],
) -> None:
    data = video_file(kind=kind, **how)
    last = data.index(b"mfra") - 4 if b"mfra" in data else len(data)
    for end in [*range(1, 60), *range(60, last, 97), *range(last - 40, last)]:
        assert defect_code(data[:end]) == "truncated", end
    assert defect_code(data[:last]) == "good"


def test_what_is_wrong_with_a_video_whose_header_comes_first_is_known_before_its_samples() -> None:
    wrong: list[dict[str, Any]] = [
        {"size": (1280, 720)},
        {"seconds": 9},
        {"codec": "", "audio_seconds": 4},
    ]
    for how in wrong:
        data = video_file(flags="faststart", **how)
        reader = VideoInspector()
        reader.feed(data[: data.index(b"mdat")])
        assert reader.defect is not None
        assert reader.finish() == reader.defect == inspect(data)


@pytest.mark.parametrize("piece", [1, 7, 64, 4096])
def test_pieces_of_any_size_give_the_same_finding(piece: int) -> None:
    for how in SPECS[:2] + SPECS[-4:]:
        assert inspect(video_file(**how), piece) == inspect(video_file(**how))
