"""Videos, box by box: what a file may be made of, and what is refused, with words that say why."""

import struct
from fractions import Fraction

import pytest

from service.media.domain.defects import Defect
from service.media.domain.mp4_boxes import MAX_BOXES, MAX_KEPT
from service.media.domain.video import Video
from tests.support.films import (
    EMPTY,
    FTYP,
    FULL_HD,
    INIT,
    MDAT,
    SCALE,
    TREX,
    box,
    code,
    edits,
    flagged,
    fragment,
    fragmented,
    full,
    heading,
    judged,
    large,
    movie,
    run,
    shape,
    sketch,
    tables,
    timed,
    track,
)

FREE = box(b"free", b"anything")
FOUR = Video("mp4", *FULL_HD, Fraction(4))
ALL_ONES = 2**32 - 1
STRANGE = full(b"trex", 0, 9, 1, SCALE, 0, 0)


def aspect(across: int, down: int) -> bytes:
    """A visual sample entry that says how wide and high its pixels are."""
    return shape(FULL_HD, box(b"pasp", struct.pack(">II", across, down)))


@pytest.mark.parametrize(
    "data",
    [
        FTYP + movie(track()) + MDAT,
        FTYP + large(b"mdat", bytes(64)) + movie(track()),
        FTYP + MDAT + large(b"moov", movie(track())[8:]),
        FTYP + FREE + MDAT + box(b"uuid", bytes(40)) + box(b"what") + movie(track()) + FREE,
        FTYP + MDAT + movie(track()) + bytes(5),
        FTYP + MDAT + movie(track()) + bytes(50),
        FTYP + movie(track()) + struct.pack(">I4s", 0, b"mdat") + bytes(64),
        FTYP + MDAT + b"\0\0\0\0" + movie(track())[4:],
        sketch(FREE, track(), box(b"udta", bytes(4)), bytes(4)),
        sketch(track(head=heading(version=1), times=timed(b"mdhd", SCALE, 4 * SCALE, 1))),
        FTYP + MDAT + movie(track(None, edits((4 * SCALE, 0), version=1)), version=1),
        sketch(large(b"trak", track()[8:])),
        sketch(track(tables(shape(FULL_HD, FREE, box(b"pasp", bytes(8)), bytes(4))))),
        sketch(track(tables(aspect(7, 7), aspect(0, 0), aspect(100, 99)))),
        sketch(track(tables(aspect(99, 100)))),
        sketch(track(tables(aspect(0, 5), aspect(4, 0)))),
        sketch(track(tables(shape(), shape()))),
        sketch(track(tables(sizes=full(b"stz2", 0, 8, 4, bytes(4))))),
        sketch(track(tables(at=0, more=full(b"co64", 0, 1, 0, 40)))),
        sketch(track(EMPTY), track(head=heading(number=2))),
        sketch(track(EMPTY, handler=b"soun"), track(head=heading(number=2))),
        sketch(track(times=timed(b"mdhd", SCALE, ALL_ONES))),
        sketch(track(times=timed(b"mdhd", SCALE, 0))),
        sketch(track(times=timed(b"mdhd", SCALE, 2**64 - 1, 1))),
        sketch(track(None, edits((SCALE, 0), (3 * SCALE, SCALE)))),
        sketch(track(None, edits((0, 0)))),
        sketch(track(None, edits((SCALE // 2, -1), (5 * SCALE, 0)))),
        sketch(track(tables(more=full(b"ctts", 0, 1, 4, 20)), edits((4 * SCALE, 20)))),
        fragmented(fragment(run(4))),
        fragmented(fragment(run(1)), fragment(run(3))),
        fragmented(fragment(run(2), run(2))),
        fragmented(fragment(run(2, 0x100 | 0x200 | 0x5, 0, 0, SCALE, 9, 3 * SCALE, 9))),
        fragmented(fragment(run(2), head=flagged(b"tfhd", 0x3A, 1, 7, 2 * SCALE, 1, 0))),
        fragmented(fragment(full(b"tfdt", 1, 0, SCALE), run(3), full(b"free", 0))),
        fragmented(fragment(run(1)), fragment(full(b"tfdt", 0, 3 * SCALE), run(1))),
        fragmented(fragment(), fragment(run(4, 0x800, 20, 40, 10, 20))),
        fragmented(fragment(run(4)), init=movie(track(EMPTY), box(b"mvex", FREE, TREX, STRANGE))),
        fragmented(fragment(run(3)), init=movie(track(tables(samples=1)), box(b"mvex", TREX))),
    ],
)
def test_whatever_a_file_may_be_made_of_is_read(data: bytes) -> None:
    expected = FOUR if b"tfdt\1" not in data else 3
    video = judged(data)
    assert isinstance(video, Video), video
    assert expected in (video, video.seconds)
    assert judged(data, 1) == video


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
        (large(b"ftyp", b"qt  \0\0\0\0"), "mov"),
        (FREE + box(b"ftyp", b"isom\0\0\0\0"), "mp4"),
        (b"", "mov"),
        (box(b"wide"), "mov"),
        (FREE, "mov"),
        (box(b"skip"), "mov"),
        (box(b"pnot", bytes(12)), "mov"),
    ],
)
def test_mp4_and_mov_are_told_by_their_brands_or_by_how_they_begin(ftyp: bytes, kind: str) -> None:
    video = judged(ftyp + MDAT + movie(track(tables(at=len(ftyp) + 8))))
    assert isinstance(video, Video)
    assert video.kind == kind


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
        (b"some words, no film", "something else"),
        (box(b"styp", b"msdh\0\0\0\0"), "a part of a stream, without its beginning"),
        (fragment(run(4)), "a part of a stream, without its beginning"),
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
    assert judged(data) == Defect("wrong_type", message)
    assert judged(data, 1) == judged(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (FTYP, "truncated"),
        (FTYP + MDAT, "truncated"),  # without moov, as a recording that was not ended
        (FTYP + movie(track(tables(at=700))), "truncated"),  # without its samples
        (FTYP + b"\0\0\0\1mdat", "truncated"),
        (FTYP + struct.pack(">I4s", 80, b"mdat") + bytes(60), "truncated"),
        (FTYP + b"\0\0\0\7mdat" + movie(track()), "damaged"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 15) + movie(track()), "damaged"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1), "too_large"),
        (FTYP + struct.pack(">I4s", MAX_KEPT, b"moov"), "truncated"),
        (sketch(track(), box(b"mvex", box(b"mehd", bytes(MAX_KEPT)))), "damaged"),
        (sketch(track(tables(more=box(b"stco", bytes(MAX_KEPT))))), "damaged"),
        (fragmented(), "no_video"),
        (fragmented(fragment(run(4)))[: -len(MDAT)], "truncated"),
        (fragmented(fragment(run(2))), "duration"),
        (fragmented(fragment(run(9))), "duration"),
        (fragmented(fragment(run(ALL_ONES))), "duration"),
        (fragmented(fragment(full(b"tfdt", 0, 5 * SCALE), run(4))), "duration"),
        (fragmented(fragment(run(4, 0x100))), "damaged"),
        (fragmented(fragment(run(4), number=2)), "damaged"),
        (fragmented(fragment(run(4), head=b"")), "damaged"),
        (fragmented(fragment(run(4), head=flagged(b"tfhd", 0x8, 1))), "damaged"),
        (fragmented(fragment(run(4)), init=movie(track(EMPTY), box(b"mvex"))), "damaged"),
        (FTYP + fragment(run(4)) + MDAT + INIT, "damaged"),
        (sketch() + fragment(run(1)), "damaged"),
        (sketch() + movie(track()), "damaged"),
        (FTYP + MDAT + box(b"moov"), "damaged"),
        (FTYP + MDAT + box(b"moov", box(b"cmov", bytes(40))), "damaged"),
        (FTYP + MDAT + movie(), "no_video"),
        (sketch(track(handler=b"soun")), "no_video"),
        (sketch(track(EMPTY)), "no_video"),
        (sketch(track(), track()), "damaged"),
        (sketch(track(), b"\0\0\0\x40free"), "damaged"),
        (sketch(track(), b"\0\0\0\1freewith"), "damaged"),
        (sketch(track(), b"junk"), "damaged"),
        (sketch(track()[:-1]), "damaged"),
        (sketch(track(times=timed(b"mdhd", 0, 4))), "damaged"),
        (FTYP + MDAT + box(b"moov", timed(b"mvhd", 0, 0), track()), "damaged"),
        (FTYP + MDAT + box(b"moov", box(b"mvhd", bytes(19)), track()), "damaged"),
        (sketch(track(head=b"")), "damaged"),
        (sketch(track(head=box(b"tkhd", bytes(70)))), "damaged"),
        (sketch(track(times=box(b"mdhd"))), "damaged"),
        (sketch(track(tables(more=full(b"ctts", 0, ALL_ONES, 4, 0)))), "damaged"),
        (sketch(track(tables(more=full(b"co64", 0, 1, 0)))), "damaged"),
        (sketch(track(None, box(b"edts", full(b"elst", 0, ALL_ONES)))), "damaged"),
        (sketch(track(tables(box(b"mp4v", bytes(20))))), "damaged"),
        (sketch(track(tables(full(b"mp4v", 0)))), "damaged"),
        (sketch(track(tables(shape(FULL_HD, box(b"pasp", bytes(4)))))), "damaged"),
        (sketch(track(box(b"minf", box(b"stbl", full(b"stsz", 0, 1, 4))))), "damaged"),
        (sketch(track(tables(shape(), shape((1280, 720))))), "resolution"),
        (sketch(track(tables(aspect(1000, 989)))), "resolution"),
        (sketch(track(tables(aspect(989, 1000)))), "resolution"),
        (sketch(track(tables(aspect(1, 1), aspect(4, 3)))), "resolution"),
        (sketch(track(tables(at=10**6))), "truncated"),
        (sketch(track(tables(samples=ALL_ONES, sizes=full(b"stsz", 0, 4, 1)))), "duration"),
        (sketch(track(tables(each=ALL_ONES), times=timed(b"mdhd", SCALE, 0))), "duration"),
        (sketch(track(None, edits((2 * SCALE, 0)))), "duration"),
        (sketch(track(None, edits((4 * SCALE, 2 * SCALE)))), "duration"),
        (sketch(track(None, edits((4 * SCALE, 99 * SCALE)))), "duration"),
        (sketch(track(None, edits((5 * SCALE, -1), (4 * SCALE, 0)))), "duration"),
        (sketch(track(None, edits((4 * SCALE, 0), (5 * SCALE, -1)))), "duration"),
        (FTYP + MDAT + movie(track(), seconds=9), "duration"),
        (FTYP + box(b"free") * (MAX_BOXES - 1), "truncated"),
        (FTYP + box(b"free") * MAX_BOXES, "damaged"),
        (sketch(track(), box(b"free") * MAX_BOXES), "damaged"),
        (sketch(*[box(b"trak")] * MAX_BOXES), "damaged"),
        (sketch(track(None, edits(*[(1, 0)] * MAX_BOXES))), "damaged"),
    ],
)
def test_what_is_cut_contradicts_itself_or_is_endless_is_refused(
    data: bytes,
    expected: str,
) -> None:
    assert code(data) == expected


def test_a_header_nested_a_thousand_deep_is_refused_like_any_other() -> None:
    nested = b""
    for _ in range(1_000):
        nested = box(b"stbl", box(b"mdia", box(b"minf", nested)))
    assert code(sketch(box(b"trak", nested))) == "damaged"
