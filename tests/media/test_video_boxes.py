"""Videos, box by box: what a file may be made of, and what is refused, and why."""

import struct
from fractions import Fraction

import pytest

from service.media.domain.defects import Defect
from service.media.domain.mp4_boxes import MAX_BOXES, MAX_KEPT_BYTES
from service.media.domain.video import Video
from tests.support.mp4_boxes import (
    EMPTY_MINF,
    FTYP,
    INIT_SEGMENT,
    MDAT,
    TIMESCALE,
    TREX,
    box,
    edts_box,
    flagged_box,
    fragmented_file,
    full_box,
    header_box,
    large_box,
    minf_box,
    moof_box,
    moov_box,
    mp4_file,
    sample_entry,
    tkhd_box,
    trak_box,
    trun_box,
)
from tests.support.videos import FULL_HD, defect_code, inspect

FREE = box(b"free", b"anything")
FOUR = Video("mp4", *FULL_HD, Fraction(4))
ALL_ONES = 2**32 - 1
STRANGE = full_box(b"trex", 0, 9, 1, TIMESCALE, 0, 0)


def aspect(across: int, down: int) -> bytes:
    """A visual sample entry that says how wide and high its pixels are."""
    return sample_entry(FULL_HD, box(b"pasp", struct.pack(">II", across, down)))


@pytest.mark.parametrize(
    "data",
    [
        FTYP + moov_box(trak_box()) + MDAT,
        FTYP + large_box(b"mdat", bytes(64)) + moov_box(trak_box()),
        FTYP + MDAT + large_box(b"moov", moov_box(trak_box())[8:]),
        FTYP + FREE + MDAT + box(b"uuid", bytes(40)) + box(b"what") + moov_box(trak_box()) + FREE,
        FTYP + MDAT + moov_box(trak_box()) + bytes(5),
        FTYP + MDAT + moov_box(trak_box()) + bytes(50),
        FTYP + moov_box(trak_box()) + struct.pack(">I4s", 0, b"mdat") + bytes(64),
        FTYP + MDAT + b"\0\0\0\0" + moov_box(trak_box())[4:],
        mp4_file(FREE, trak_box(), box(b"udta", bytes(4)), bytes(4)),
        mp4_file(
            trak_box(
                head=tkhd_box(version=1), times=header_box(b"mdhd", TIMESCALE, 4 * TIMESCALE, 1)
            )
        ),
        FTYP + MDAT + moov_box(trak_box(None, edts_box((4 * TIMESCALE, 0), version=1)), version=1),
        mp4_file(large_box(b"trak", trak_box()[8:])),
        mp4_file(trak_box(minf_box(sample_entry(FULL_HD, FREE, box(b"pasp", bytes(8)), bytes(4))))),
        mp4_file(trak_box(minf_box(aspect(7, 7), aspect(0, 0), aspect(100, 99)))),
        mp4_file(trak_box(minf_box(aspect(99, 100)))),
        mp4_file(trak_box(minf_box(aspect(0, 5), aspect(4, 0)))),
        mp4_file(trak_box(minf_box(sample_entry(), sample_entry()))),
        mp4_file(trak_box(minf_box(sizes=full_box(b"stz2", 0, 8, 4, bytes(4))))),
        mp4_file(trak_box(minf_box(at=0, more=full_box(b"co64", 0, 1, 0, 40)))),
        mp4_file(trak_box(EMPTY_MINF), trak_box(head=tkhd_box(number=2))),
        mp4_file(trak_box(EMPTY_MINF, handler=b"soun"), trak_box(head=tkhd_box(number=2))),
        mp4_file(trak_box(times=header_box(b"mdhd", TIMESCALE, ALL_ONES))),
        mp4_file(trak_box(times=header_box(b"mdhd", TIMESCALE, 0))),
        mp4_file(trak_box(times=header_box(b"mdhd", TIMESCALE, 2**64 - 1, 1))),
        mp4_file(trak_box(None, edts_box((TIMESCALE, 0), (3 * TIMESCALE, TIMESCALE)))),
        mp4_file(trak_box(None, edts_box((0, 0)))),
        mp4_file(trak_box(None, edts_box((TIMESCALE // 2, -1), (5 * TIMESCALE, 0)))),
        mp4_file(
            trak_box(minf_box(more=full_box(b"ctts", 0, 1, 4, 20)), edts_box((4 * TIMESCALE, 20)))
        ),
        fragmented_file(moof_box(trun_box(4))),
        fragmented_file(moof_box(trun_box(1)), moof_box(trun_box(3))),
        fragmented_file(moof_box(trun_box(2), trun_box(2))),
        fragmented_file(
            moof_box(trun_box(2, 0x100 | 0x200 | 0x5, 0, 0, TIMESCALE, 9, 3 * TIMESCALE, 9))
        ),
        fragmented_file(
            moof_box(trun_box(2), head=flagged_box(b"tfhd", 0x3A, 1, 7, 2 * TIMESCALE, 1, 0))
        ),
        fragmented_file(
            moof_box(full_box(b"tfdt", 1, 0, TIMESCALE), trun_box(3), full_box(b"free", 0))
        ),
        fragmented_file(
            moof_box(trun_box(1)), moof_box(full_box(b"tfdt", 0, 3 * TIMESCALE), trun_box(1))
        ),
        fragmented_file(moof_box(), moof_box(trun_box(4, 0x800, 20, 40, 10, 20))),
        fragmented_file(
            moof_box(trun_box(4)),
            init=moov_box(trak_box(EMPTY_MINF), box(b"mvex", FREE, TREX, STRANGE)),
        ),
        fragmented_file(
            moof_box(trun_box(3)), init=moov_box(trak_box(minf_box(samples=1)), box(b"mvex", TREX))
        ),
    ],
)
def test_whatever_a_file_may_be_made_of_is_read(data: bytes) -> None:
    expected = FOUR if b"tfdt\1" not in data else 3
    video = inspect(data)
    assert isinstance(video, Video), video
    assert expected in (video, video.seconds)
    assert inspect(data, 1) == video


@pytest.mark.parametrize(
    ("ftyp", "kind"),
    [
        (FTYP, "mp4"),
        (box(b"ftyp", b"mp42\0\0\0\0"), "mp4"),
        (box(b"ftyp", b"M4V \0\0\0\1"), "mp4"),
        (box(b"ftyp", b"3gp5\0\0\0\0isom3gp5"), "mp4"),
        (box(b"ftyp", b"M4A \0\0\0\0M4A mp42"), "mp4"),
        (box(b"ftyp", b"f4v \0\0\0\0f4v iso9"), "mp4"),
        (box(b"ftyp", b"avc1\0\0\0\0"), "mp4"),
        (box(b"ftyp", b"none\0\0\0\0noneM4V "), "mp4"),
        (box(b"ftyp", b"XAVC\0\0\0\1XAVCmp42iso2"), "mp4"),
        (box(b"ftyp", b"qt  \0\0\0\0qt  "), "mov"),
        (box(b"ftyp", b"mqt \0\0\0\0mqt qt  "), "mov"),
        (large_box(b"ftyp", b"qt  \0\0\0\0"), "mov"),
        (FREE + box(b"ftyp", b"isom\0\0\0\0"), "mp4"),
        (b"", "mov"),
        (box(b"wide"), "mov"),
        (FREE, "mov"),
        (box(b"skip"), "mov"),
        (box(b"pnot", bytes(12)), "mov"),
    ],
)
def test_mp4_and_mov_are_recognised_by_their_brands_or_first_bytes(ftyp: bytes, kind: str) -> None:
    video = inspect(ftyp + MDAT + moov_box(trak_box(minf_box(at=len(ftyp) + 8))))
    assert isinstance(video, Video)
    assert video.format == kind


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"\x1a\x45\xdf\xa3 webm", "WebM or Matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"FLV\1\5", "Flash Video"),
        (b"\0\0\1\xba\x44\0\4", "MPEG-PS"),
        (b"G@\0\x10", "MPEG-TS"),
        (b"GIF89a", "GIF"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"<html>", "XML or HTML"),
        (b"#EXTM3U\n", "a playlist"),
        (b"some words, no video", "something else"),
        (box(b"styp", b"msdh\0\0\0\0"), "a part of a stream, without its beginning"),
        (moof_box(trun_box(4)), "a part of a stream, without its beginning"),
        (box(b"ftyp", b"3gp5\0\0\0\0dash3gp5"), "3GPP"),
        (box(b"ftyp", b"heic\0\0\0\0mif1heic"), "HEIC"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1avif"), "HEIC or AVIF"),
        (box(b"ftyp", b"avif\0\0\0\0avifmif1"), "AVIF"),
        (box(b"ftyp", b"M4A \0\0\0\0M4A M4V "), "M4A"),
        (box(b"ftyp", b"f4v \0\0\0\0f4v "), "Flash Video"),
        (box(b"ftyp", b"w\xffat\0\0\0\0"), "of the brand 'w\\ufffdat'"),
        (box(b"ftyp", b"none\0\0\0\0also"), "of the brand 'none'"),
    ],
)
def test_another_type_is_refused_by_name(data: bytes, what: str) -> None:
    message = f"must be an MP4 or MOV by content; this is {what}"
    assert inspect(data) == Defect("wrong_type", message)
    assert inspect(data, 1) == inspect(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (FTYP, "truncated"),
        (FTYP + MDAT, "truncated"),  # without moov, as a recording that was not ended
        (FTYP + moov_box(trak_box(minf_box(at=700))), "truncated"),  # without its samples
        (FTYP + b"\0\0\0\1mdat", "truncated"),
        (FTYP + struct.pack(">I4s", 80, b"mdat") + bytes(60), "truncated"),
        (FTYP + b"\0\0\0\7mdat" + moov_box(trak_box()), "damaged"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 15) + moov_box(trak_box()), "damaged"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1), "too_large"),
        (FTYP + struct.pack(">I4s", MAX_KEPT_BYTES, b"moov"), "truncated"),
        (mp4_file(trak_box(), box(b"mvex", box(b"mehd", bytes(MAX_KEPT_BYTES)))), "damaged"),
        (mp4_file(trak_box(minf_box(more=box(b"stco", bytes(MAX_KEPT_BYTES))))), "damaged"),
        (fragmented_file(), "no_video"),
        (fragmented_file(moof_box(trun_box(4)))[: -len(MDAT)], "truncated"),
        (fragmented_file(moof_box(trun_box(2))), "duration"),
        (fragmented_file(moof_box(trun_box(9))), "duration"),
        (fragmented_file(moof_box(trun_box(ALL_ONES))), "duration"),
        (fragmented_file(moof_box(full_box(b"tfdt", 0, 5 * TIMESCALE), trun_box(4))), "duration"),
        (fragmented_file(moof_box(trun_box(4, 0x100))), "damaged"),
        (fragmented_file(moof_box(trun_box(4), number=2)), "damaged"),
        (fragmented_file(moof_box(trun_box(4), head=b"")), "damaged"),
        (fragmented_file(moof_box(trun_box(4), head=flagged_box(b"tfhd", 0x8, 1))), "damaged"),
        (
            fragmented_file(
                moof_box(trun_box(4)), init=moov_box(trak_box(EMPTY_MINF), box(b"mvex"))
            ),
            "damaged",
        ),
        (FTYP + moof_box(trun_box(4)) + MDAT + INIT_SEGMENT, "damaged"),
        (mp4_file() + moof_box(trun_box(1)), "damaged"),
        (mp4_file() + moov_box(trak_box()), "damaged"),
        (FTYP + MDAT + box(b"moov"), "damaged"),
        (FTYP + MDAT + box(b"moov", box(b"cmov", bytes(40))), "damaged"),
        (FTYP + MDAT + moov_box(), "no_video"),
        (mp4_file(trak_box(handler=b"soun")), "no_video"),
        (mp4_file(trak_box(EMPTY_MINF)), "no_video"),
        (mp4_file(trak_box(), trak_box()), "damaged"),
        (mp4_file(trak_box(), b"\0\0\0\x40free"), "damaged"),
        (mp4_file(trak_box(), b"\0\0\0\1freewith"), "damaged"),
        (mp4_file(trak_box(), b"junk"), "damaged"),
        (mp4_file(trak_box()[:-1]), "damaged"),
        (mp4_file(trak_box(times=header_box(b"mdhd", 0, 4))), "damaged"),
        (FTYP + MDAT + box(b"moov", header_box(b"mvhd", 0, 0), trak_box()), "damaged"),
        (FTYP + MDAT + box(b"moov", box(b"mvhd", bytes(19)), trak_box()), "damaged"),
        (mp4_file(trak_box(head=b"")), "damaged"),
        (mp4_file(trak_box(head=box(b"tkhd", bytes(70)))), "damaged"),
        (mp4_file(trak_box(times=box(b"mdhd"))), "damaged"),
        (mp4_file(trak_box(minf_box(more=full_box(b"ctts", 0, ALL_ONES, 4, 0)))), "damaged"),
        (mp4_file(trak_box(minf_box(more=full_box(b"co64", 0, 1, 0)))), "damaged"),
        (mp4_file(trak_box(None, box(b"edts", full_box(b"elst", 0, ALL_ONES)))), "damaged"),
        (mp4_file(trak_box(minf_box(box(b"mp4v", bytes(20))))), "damaged"),
        (mp4_file(trak_box(minf_box(full_box(b"mp4v", 0)))), "damaged"),
        (mp4_file(trak_box(minf_box(sample_entry(FULL_HD, box(b"pasp", bytes(4)))))), "damaged"),
        (mp4_file(trak_box(box(b"minf", box(b"stbl", full_box(b"stsz", 0, 1, 4))))), "damaged"),
        (mp4_file(trak_box(minf_box(sample_entry(), sample_entry((1280, 720))))), "resolution"),
        (mp4_file(trak_box(minf_box(aspect(1000, 989)))), "resolution"),
        (mp4_file(trak_box(minf_box(aspect(989, 1000)))), "resolution"),
        (mp4_file(trak_box(minf_box(aspect(1, 1), aspect(4, 3)))), "resolution"),
        (mp4_file(trak_box(minf_box(at=10**6))), "truncated"),
        (
            mp4_file(trak_box(minf_box(samples=ALL_ONES, sizes=full_box(b"stsz", 0, 4, 1)))),
            "duration",
        ),
        (
            mp4_file(trak_box(minf_box(each=ALL_ONES), times=header_box(b"mdhd", TIMESCALE, 0))),
            "duration",
        ),
        (mp4_file(trak_box(None, edts_box((2 * TIMESCALE, 0)))), "duration"),
        (mp4_file(trak_box(None, edts_box((4 * TIMESCALE, 2 * TIMESCALE)))), "duration"),
        (mp4_file(trak_box(None, edts_box((4 * TIMESCALE, 99 * TIMESCALE)))), "duration"),
        (mp4_file(trak_box(None, edts_box((5 * TIMESCALE, -1), (4 * TIMESCALE, 0)))), "duration"),
        (mp4_file(trak_box(None, edts_box((4 * TIMESCALE, 0), (5 * TIMESCALE, -1)))), "duration"),
        (FTYP + MDAT + moov_box(trak_box(), seconds=9), "duration"),
        (FTYP + box(b"free") * (MAX_BOXES - 1), "truncated"),
        (FTYP + box(b"free") * MAX_BOXES, "damaged"),
        (mp4_file(trak_box(), box(b"free") * MAX_BOXES), "damaged"),
        (mp4_file(*[box(b"trak")] * MAX_BOXES), "damaged"),
        (mp4_file(trak_box(None, edts_box(*[(1, 0)] * MAX_BOXES))), "damaged"),
    ],
)
def test_what_is_cut_contradicts_itself_or_is_endless_is_refused(
    data: bytes,
    expected: str,
) -> None:
    assert defect_code(data) == expected


def test_a_header_nested_a_thousand_deep_is_refused_like_any_other() -> None:
    nested = b""
    for _ in range(1_000):
        nested = box(b"stbl", box(b"mdia", box(b"minf", nested)))
    assert defect_code(mp4_file(box(b"trak", nested))) == "damaged"
