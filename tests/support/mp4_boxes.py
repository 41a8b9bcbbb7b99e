"""MP4 files put together box by box, to be as wrong as a test wants them."""

import struct

from tests.support.videos import FULL_HD


def patch_box(data: bytes, kind: bytes, at: int, new: bytes) -> bytes:
    """The file with `new` in the content of its first box of this kind, from byte `at` on."""
    at += data.index(kind) + 4
    return data[:at] + new + data[at + len(new) :]


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def large_box(kind: bytes, *parts: bytes) -> bytes:
    """A box with a 64-bit size."""
    body = b"".join(parts)
    return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body


NOT_ROTATED = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
ROTATED_LEFT = (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
ROTATED_RIGHT = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
FTYP = box(b"ftyp", b"isom\0\0\2\0isommp42")
MDAT = box(b"mdat", bytes(64))
TIMESCALE = 600  # ticks a second, of movies and tracks


def full_box(kind: bytes, version: int, *words: int | bytes) -> bytes:
    """A full box whose content is these 32-bit numbers, and bytes as they are."""
    parts = (word if isinstance(word, bytes) else struct.pack(">I", word) for word in words)
    return box(kind, bytes((version, 0, 0, 0)), *parts)


def header_box(kind: bytes, scale: int, ticks: int, version: int = 0) -> bytes:
    """`mvhd` or `mdhd`."""
    if version:
        return full_box(kind, 1, bytes(16), scale, struct.pack(">Q", ticks), bytes(80))
    return full_box(kind, 0, bytes(8), scale, ticks, bytes(80))


def tkhd_box(matrix: tuple[int, ...] = NOT_ROTATED, number: int = 1, version: int = 0) -> bytes:
    """`tkhd`."""
    before, after = (bytes(16), bytes(28)) if version else (bytes(8), bytes(24))
    return full_box(b"tkhd", version, before, number, after, struct.pack(">9i", *matrix), bytes(8))


def edts_box(*listed: tuple[int, int], version: int = 0) -> bytes:
    """`edts` with edits of (movie ticks, start in the track's ticks)."""
    entry = ">QqI" if version else ">IiI"
    entries = (struct.pack(entry, length, start, 65536) for length, start in listed)
    return box(b"edts", full_box(b"elst", version, len(listed), *entries))


def sample_entry(size: tuple[int, int] = FULL_HD, *within: bytes, kind: bytes = b"mp4v") -> bytes:
    """A visual sample entry."""
    return box(kind, bytes(24), struct.pack(">HH", *size), bytes(50), *within)


def minf_box(
    *shapes: bytes,
    each: int = TIMESCALE,
    samples: int = 4,
    at: int = 40,
    sizes: bytes | None = None,
    more: bytes = b"",
) -> bytes:
    """`minf` with a `stbl`: `samples` of `each` ticks, in one chunk that begins at byte `at`."""
    stbl = box(
        b"stbl",
        full_box(b"stsd", 0, len(shapes or (1,)), *(shapes or (sample_entry(),))),
        full_box(b"stts", 0, 1, samples, each),
        full_box(b"stsc", 0, 1, 1, samples, 1),
        full_box(b"stsz", 0, 4, samples) if sizes is None else sizes,
        full_box(b"stco", 0, 1, at),
        more,
    )
    return box(b"minf", full_box(b"hdlr", 0, b"dhlralis", bytes(16)), stbl)


def trak_box(
    minf: bytes | None = None,
    *more: bytes,
    head: bytes | None = None,
    times: bytes | None = None,
    handler: bytes = b"vide",
) -> bytes:
    """A `trak`, of four seconds unless its parts say otherwise."""
    hdlr = full_box(b"hdlr", 0, b"mhlr", handler, bytes(16))
    mdia = box(
        b"mdia", times or header_box(b"mdhd", TIMESCALE, 4 * TIMESCALE), hdlr, minf or minf_box()
    )
    return box(b"trak", tkhd_box() if head is None else head, *more, mdia)


def moov_box(*parts: bytes, seconds: int = 4, version: int = 0) -> bytes:
    """A `moov`."""
    return box(b"moov", header_box(b"mvhd", TIMESCALE, seconds * TIMESCALE, version), *parts)


def mp4_file(*parts: bytes, ftyp: bytes = FTYP, mdat: bytes = MDAT) -> bytes:
    """A file with this `moov` content after its header; one good track if there is none."""
    return ftyp + mdat + moov_box(*(parts or (trak_box(),)))


TREX = full_box(b"trex", 0, 1, 1, TIMESCALE, 0, 0)
EMPTY_MINF = minf_box(samples=0)
INIT_SEGMENT = moov_box(
    trak_box(EMPTY_MINF), box(b"mvex", full_box(b"mehd", 0, 4 * TIMESCALE), TREX), seconds=0
)


def flagged_box(kind: bytes, flags: int, *words: int | bytes) -> bytes:
    """A full box with flags."""
    content = full_box(kind, 0, *words)
    return content[:9] + flags.to_bytes(3) + content[12:]


def moof_box(*runs: bytes, number: int = 1, head: bytes | None = None) -> bytes:
    """A `moof` with samples of one track."""
    traf = box(b"traf", flagged_box(b"tfhd", 0, number) if head is None else head, *runs)
    return box(b"moof", full_box(b"mfhd", 0, 1), traf)


def trun_box(samples: int, flags: int = 0, *words: int) -> bytes:
    """A `trun`."""
    return flagged_box(b"trun", flags, samples, *words)


def fragmented_file(*fragments: bytes, init: bytes = INIT_SEGMENT) -> bytes:
    """A file of fragments, each with its bytes after it."""
    return FTYP + init + b"".join(part + MDAT for part in fragments)
