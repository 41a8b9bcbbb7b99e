"""What an image is, read from its bytes: a JPEG or a PNG, how large, and what is wrong with it.

Only markers and chunks are walked, nothing is decoded, so a decompression bomb costs nothing; what
stands behind the picture's end is not looked at, as decoders do not. A turn by EXIF's orientation
changes no verdict: the limits are the same for both sides.
Limits: rule P16. Time is linear in the bytes; no input raises.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from service.media.domain.defects import Defect

MAX_BYTES = 10_000_000  # rule P16; decimal, so that what passes here passes there
MIN_SIDE = 300  # pixels; rule P16
MAX_RATIO = (5, 2)  # long side to short side, at most; rule P16: 1:2.5 to 2.5:1, both included
MAX_PIXELS = 178_956_970  # ours: where Pillow, the commonest decoder, refuses to decode
MAX_PARTS = 50_000  # ours: segments or chunks; 10 MB in libpng's usual chunks are 1,221

JPEG_SIGNATURE = b"\xff\xd8"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
FOREIGN_SIGNATURES = (  # name, offset, bytes: only so that the message can say what it is instead
    ("GIF", 0, b"GIF8"),
    ("WebP", 8, b"WEBP"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("HEIC, AVIF or a video", 4, b"ftyp"),
    ("PDF", 0, b"%PDF"),
    ("XML or HTML", 0, b"<"),
)

# ITU-T T.81, table B.1 and section B.1.1: in scan data FF 00 is a stuffed byte, FF D0 to D7 a
# restart and FF FF fill; FF with anything else ends the scan.
MARKER = re.compile(rb"\xff++([^\x00\xff])", re.DOTALL)
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
DECODABLE_FRAMES = frozenset(
    {0xC0, 0xC1, 0xC2}
)  # baseline, extended, progressive: what all decoders take
SOS, EOI = 0xDA, 0xD9
FRAME_HEADER = struct.Struct(
    ">BHHB"
)  # section B.2.2: precision, lines, samples per line, components
COMPONENT_BYTES = 3  # bytes that follow for each
PRECISION = 8  # bits; 12 are taken by hardly any decoder
COMPONENT_COUNTS = frozenset({1, 3, 4})  # grey, colour, and the four of print
STANDALONE_MARKERS = frozenset(
    {0x01, *range(0xD0, 0xD8)}
)  # TEM and restarts: markers without a length

ANCILLARY = 0x20  # in a chunk type's first letter; decoders fail on a bad CRC of the others
CHUNK_OVERHEAD = 12  # bytes of a chunk besides its data: length, type, CRC
IHDR_LAYOUT = struct.Struct(">IIBBBBB")
# PNG specification, third edition, section 11.3.6.1: it stands before the first IDAT, or is not
# heeded; a picture of one frame is a still.
ANIMATION_CONTROL = b"acTL"
ACTL_LAYOUT = struct.Struct(">II")  # frames, and how often they are played
CHUNKS_READ = frozenset({b"IHDR", ANIMATION_CONTROL})
# PNG specification, section 11.2.1: what a pixel has, by colour type, and the bits of each.
CHANNELS = MappingProxyType({0: 1, 2: 3, 3: 1, 4: 2, 6: 4})
PALETTE = 3
BIT_DEPTHS = MappingProxyType(
    {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
)
MAX_DEFLATE_RATIO = 1032  # to one; no deflate stream expands by more: 258 bytes from two bits


@dataclass(frozen=True, slots=True)
class Image:
    """A JPEG or PNG that keeps every limit; sides in pixels."""

    kind: Literal["jpeg", "png"]
    width: int
    height: int


TRUNCATED = Defect("truncated", "is cut short")
DAMAGED = Defect("damaged", "is damaged: its parts do not fit together")
UNSUPPORTED_CODING = Defect(
    "coding",
    "is a JPEG of a rare kind (arithmetic, lossless, hierarchical or of more than 8 bits); send a"
    " baseline or progressive one",
)
ANIMATED = Defect("animated", "is an animated PNG; send a still one")
TOO_LARGE = Defect("too_large", f"has more than {MAX_BYTES:,} bytes (10 MB)")


class InvalidImage(Exception):
    def __init__(self, flaw: Defect) -> None:
        super().__init__()
        self.flaw = flaw


def inspect(data: bytes) -> Image | Defect:
    """The image these bytes hold, or the first limit they break."""
    if len(data) > MAX_BYTES:
        return TOO_LARGE
    try:
        if data.startswith(JPEG_SIGNATURE):
            return _check_dimensions(_read_jpeg(data))
        if data.startswith(PNG_SIGNATURE):
            return _check_dimensions(_read_png(data))
    except InvalidImage as broken:
        return broken.flaw
    return _wrong_type(data)


def _wrong_type(data: bytes) -> Defect:
    if data and (JPEG_SIGNATURE.startswith(data) or PNG_SIGNATURE.startswith(data)):
        return TRUNCATED
    names = (name for name, at, mark in FOREIGN_SIGNATURES if data.startswith(mark, at))
    what = next(names, "something else" if data else "empty")
    return Defect("wrong_type", f"must be a JPEG or PNG by content; this is {what}")


def _check_dimensions(image: Image) -> Image | Defect:
    short, long = sorted((image.width, image.height))
    size = f"is {image.width} x {image.height} pixels"
    if short < MIN_SIDE:
        return Defect("too_small", f"{size}; each side must have at least {MIN_SIDE}")
    if long * MAX_RATIO[1] > short * MAX_RATIO[0]:
        return Defect("ratio", f"{size}; the aspect ratio must be between 1:2.5 and 2.5:1")
    if short * long > MAX_PIXELS:
        return Defect("too_many_pixels", f"{size}; at most {MAX_PIXELS:,} in all can be taken")
    return image


def _read_jpeg(data: bytes) -> Image:
    """An embedded thumbnail lies within a segment, and further pictures behind the first one's end;
    so the one frame is the picture's."""
    frames: list[tuple[int, bytes]] = []
    scans = 0
    for marker, body in _segments(data):
        if marker in START_OF_FRAME:
            frames.append((marker, body))
        scans += marker == SOS
    if len(frames) != 1 or not scans:
        raise InvalidImage(DAMAGED)
    return _read_frame_header(*frames[0])


def _read_frame_header(marker: int, body: bytes) -> Image:
    if len(body) < FRAME_HEADER.size:
        raise InvalidImage(DAMAGED)
    precision, height, width, components = FRAME_HEADER.unpack_from(body)
    if marker not in DECODABLE_FRAMES or precision != PRECISION:
        raise InvalidImage(UNSUPPORTED_CODING)
    if (
        components not in COMPONENT_COUNTS
        or len(body) != FRAME_HEADER.size + components * COMPONENT_BYTES
    ):
        raise InvalidImage(DAMAGED)
    return Image("jpeg", width, height)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each marker and its segment's content, up to EOI, which must be there."""
    at = len(JPEG_SIGNATURE)
    for _ in range(MAX_PARTS):
        found = MARKER.match(data, at)
        if found is None:
            break
        marker, at = found[1][0], found.end()
        if marker == EOI:
            return
        if marker in STANDALONE_MARKERS:
            continue
        end = at + max(2, int.from_bytes(data[at : at + 2]))
        yield marker, data[at + 2 : end]
        at = _scan_end(data, end) if marker == SOS else end
    raise InvalidImage(DAMAGED if data[at:].strip(b"\xff") else TRUNCATED)


def _scan_end(data: bytes, at: int) -> int:
    found = SCAN_END.search(data, at)
    return found.start() if found else len(data)


def _read_png(data: bytes) -> Image:
    header = b""
    lengths: dict[bytes, int] = {}
    for kind, body, length in _chunks(data):
        header = header or (body if kind == b"IHDR" else b"-")
        if (
            kind == ANIMATION_CONTROL
            and not lengths.keys() & {ANIMATION_CONTROL, b"IDAT"}
            and _has_several_frames(body)
        ):
            raise InvalidImage(ANIMATED)
        lengths[kind] = lengths.get(kind, 0) + length
    if len(header) != IHDR_LAYOUT.size or b"IDAT" not in lengths:
        raise InvalidImage(DAMAGED)
    return _read_ihdr(header, lengths)


def _has_several_frames(control: bytes) -> bool:
    """Whether an `acTL` chunk with this content says that there are several frames."""
    return len(control) == ACTL_LAYOUT.size and ACTL_LAYOUT.unpack(control)[0] > 1


def _read_ihdr(header: bytes, lengths: Mapping[bytes, int]) -> Image:
    width, height, depth, colour, compression, filtering, interlace = IHDR_LAYOUT.unpack(header)
    known = depth in BIT_DEPTHS.get(colour, ()) and interlace in {0, 1}
    if not known or compression or filtering or (colour == PALETTE and b"PLTE" not in lengths):
        raise InvalidImage(DAMAGED)
    size = width * height
    if (
        size <= MAX_PIXELS
        and lengths[b"IDAT"] * MAX_DEFLATE_RATIO < size * depth * CHANNELS[colour] // 8
    ):
        raise InvalidImage(TRUNCATED)  # so many cannot be in it
    return Image("png", width, height)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Each chunk's type, for those in READ its data, and its length, up to IEND, which must be
    there."""
    at = len(PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        end = at + CHUNK_OVERHEAD + int.from_bytes(data[at : at + 4])
        if end > len(data):
            raise InvalidImage(TRUNCATED)
        kind, crc = data[at + 4 : at + 8], int.from_bytes(data[end - 4 : end])
        critical = not kind[0] & ANCILLARY
        if critical and zlib.crc32(memoryview(data)[at + 4 : end - 4]) != crc:
            raise InvalidImage(DAMAGED)
        if kind == b"IEND":
            return
        yield (
            kind,
            data[at + 8 : end - 4] if kind in CHUNKS_READ else b"",
            end - at - CHUNK_OVERHEAD,
        )
        at = end
    raise InvalidImage(DAMAGED)
