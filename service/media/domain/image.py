"""Reading a JPEG or PNG from its bytes: format, width, height, and the first defect.

Limits: rule P16 of service/provider/README.md; which files are read at all: rule P98. Markers and
chunks alone are walked and no pixel is decoded, so a decompression bomb costs nothing. Bytes behind
the picture's end are ignored, as decoders ignore them. EXIF orientation is not needed, as the
limits are the same for both sides. Time is linear in the bytes; no input raises.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from service.media.domain.defects import TRUNCATED, Defect, InvalidMedia
from service.media.domain.file_types import Signatures, name_by_signature

MAX_BYTES = 10_000_000  # rule P16
MIN_SIDE = 300  # pixels; rule P16
MAX_RATIO = (5, 2)  # long side to short side; rule P16
MAX_PIXELS = 178_956_970  # ours: where Pillow, the commonest decoder, refuses to decode
MAX_PARTS = 50_000  # ours: segments or chunks; 10 MB in libpng's usual chunks are 1,221

JPEG_SIGNATURE = b"\xff\xd8"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
FOREIGN_SIGNATURES: Signatures = (  # so that the message can name what a file is instead
    ("GIF", 0, b"GIF8"),
    ("WebP", 8, b"WEBP"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, (b"II*\0", b"MM\0*")),
    ("HEIC, AVIF or a video", 4, b"ftyp"),
    ("PDF", 0, b"%PDF"),
    ("XML or HTML", 0, b"<"),
)

# ITU-T T.81, table B.1 and section B.1.1: in scan data FF 00 is a stuffed byte, FF D0 to D7 a
# restart and FF FF fill; FF with anything else ends the scan.
MARKER = re.compile(rb"\xff++([^\x00\xff])", re.DOTALL)
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
SOS, EOI = 0xDA, 0xD9  # start of scan, end of image
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
DECODABLE_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive Huffman
STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and restarts have no length
FRAME_HEADER = struct.Struct(">BHHB")  # B.2.2: precision, lines, samples per line, components
COMPONENT_BYTES = 3  # for each component, behind the frame header
COMPONENT_COUNTS = frozenset({1, 3, 4})  # grey, YCbCr or RGB, CMYK
PRECISION = 8  # bits; hardly any decoder takes 12

ANCILLARY = 0x20  # bit of a chunk type's first letter; decoders check the CRC of the others
CHUNK_OVERHEAD = 12  # bytes of a chunk besides its data: length, type, CRC
IHDR_LAYOUT = struct.Struct(">IIBBBBB")
# PNG specification, third edition, section 11.3.6.1: it stands before the first IDAT, or is
# ignored; a picture of one frame is a still.
ANIMATION_CONTROL = b"acTL"
ACTL_LAYOUT = struct.Struct(">II")  # frames, plays
CHUNKS_READ = frozenset({b"IHDR", ANIMATION_CONTROL})
# PNG specification, section 11.2.1: channels of a pixel by colour type, and bits of a channel.
CHANNELS = MappingProxyType({0: 1, 2: 3, 3: 1, 4: 2, 6: 4})
PALETTE = 3
BIT_DEPTHS = MappingProxyType(
    {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
)
MAX_DEFLATE_RATIO = 1032  # no deflate stream expands by more: 258 bytes from two bits

DAMAGED = Defect("damaged", "is damaged: its parts do not fit together")
UNSUPPORTED_CODING = Defect(
    "coding",
    "is a JPEG of a rare kind (arithmetic, lossless, hierarchical or of more than 8 bits); send a"
    " baseline or progressive one",
)
ANIMATED = Defect("animated", "is an animated PNG; send a still one")
TOO_LARGE = Defect("too_large", f"has more than {MAX_BYTES:,} bytes (10 MB)")


@dataclass(frozen=True, slots=True)
class Image:
    """A JPEG or PNG that keeps every limit."""

    format: Literal["jpeg", "png"]  # by content
    width: int  # pixels, as stored
    height: int  # pixels, as stored


def inspect(data: bytes) -> Image | Defect:
    """Read a whole file: the image in it, or its first defect."""
    if len(data) > MAX_BYTES:
        return TOO_LARGE
    try:
        return _check_dimensions(_read(data))
    except InvalidMedia as error:
        return error.defect


def _read(data: bytes) -> Image:
    if data.startswith(JPEG_SIGNATURE):
        return _read_jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data)
    if data and (JPEG_SIGNATURE.startswith(data) or PNG_SIGNATURE.startswith(data)):
        raise InvalidMedia(TRUNCATED)
    found = name_by_signature(data, FOREIGN_SIGNATURES)
    raise InvalidMedia(Defect("wrong_type", f"must be a JPEG or PNG by content; this is {found}"))


def _check_dimensions(image: Image) -> Image | Defect:
    short, long = sorted((image.width, image.height))
    size = f"is {image.width} x {image.height} pixels"
    if short < MIN_SIDE:
        return Defect("too_small", f"{size}; each side must have at least {MIN_SIDE}")
    if long * MAX_RATIO[1] > short * MAX_RATIO[0]:
        return Defect("ratio", f"{size}; the aspect ratio must be between 1:2.5 and 2.5:1")
    if short * long > MAX_PIXELS:
        return Defect("too_many_pixels", f"{size}; at most {MAX_PIXELS:,} in all are allowed")
    return image


def _read_jpeg(data: bytes) -> Image:
    """Read the size from the only frame: an embedded thumbnail lies within a segment, and further
    pictures lie behind the end of the first one."""
    frames: list[tuple[int, bytes]] = []
    scans = 0
    for marker, content in _segments(data):
        if marker in START_OF_FRAME:
            frames.append((marker, content))
        scans += marker == SOS
    if len(frames) != 1 or not scans:
        raise InvalidMedia(DAMAGED)
    return _read_frame_header(*frames[0])


def _read_frame_header(marker: int, content: bytes) -> Image:
    if len(content) < FRAME_HEADER.size:
        raise InvalidMedia(DAMAGED)
    precision, height, width, components = FRAME_HEADER.unpack_from(content)
    if marker not in DECODABLE_FRAMES or precision != PRECISION:
        raise InvalidMedia(UNSUPPORTED_CODING)
    size = FRAME_HEADER.size + components * COMPONENT_BYTES
    if components not in COMPONENT_COUNTS or len(content) != size:
        raise InvalidMedia(DAMAGED)
    return Image("jpeg", width, height)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment up to EOI, which must be there."""
    at = len(JPEG_SIGNATURE)
    for _ in range(MAX_PARTS):
        match = MARKER.match(data, at)
        if match is None:
            break
        marker, at = match[1][0], match.end()
        if marker == EOI:
            return
        if marker in STANDALONE_MARKERS:
            continue
        end = at + max(2, int.from_bytes(data[at : at + 2]))
        yield marker, data[at + 2 : end]
        at = _scan_end(data, end) if marker == SOS else end
    raise InvalidMedia(DAMAGED if data[at:].strip(b"\xff") else TRUNCATED)


def _scan_end(data: bytes, at: int) -> int:
    match = SCAN_END.search(data, at)
    return match.start() if match else len(data)


def _read_png(data: bytes) -> Image:
    header = b""
    lengths: dict[bytes, int] = {}  # bytes of data by chunk type
    for chunk_type, content, length in _chunks(data):
        header = header or (content if chunk_type == b"IHDR" else b"-")
        heeded = chunk_type == ANIMATION_CONTROL and not lengths.keys() & {chunk_type, b"IDAT"}
        if heeded and _has_several_frames(content):
            raise InvalidMedia(ANIMATED)
        lengths[chunk_type] = lengths.get(chunk_type, 0) + length
    if len(header) != IHDR_LAYOUT.size or b"IDAT" not in lengths:
        raise InvalidMedia(DAMAGED)
    return _read_ihdr(header, lengths)


def _has_several_frames(actl: bytes) -> bool:
    return len(actl) == ACTL_LAYOUT.size and ACTL_LAYOUT.unpack(actl)[0] > 1


def _read_ihdr(header: bytes, lengths: Mapping[bytes, int]) -> Image:
    width, height, depth, colour, compression, filtering, interlace = IHDR_LAYOUT.unpack(header)
    known = depth in BIT_DEPTHS.get(colour, ()) and interlace in {0, 1}
    if not known or compression or filtering or (colour == PALETTE and b"PLTE" not in lengths):
        raise InvalidMedia(DAMAGED)
    pixels = width * height
    needed = pixels * depth * CHANNELS[colour] // 8  # bytes
    if pixels <= MAX_PIXELS and lengths[b"IDAT"] * MAX_DEFLATE_RATIO < needed:
        raise InvalidMedia(TRUNCATED)
    return Image("png", width, height)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Type, data (of CHUNKS_READ alone) and length of each chunk up to IEND, which must be
    there."""
    at = len(PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        length = int.from_bytes(data[at : at + 4])
        end = at + CHUNK_OVERHEAD + length
        if end > len(data):
            raise InvalidMedia(TRUNCATED)
        chunk_type, crc = data[at + 4 : at + 8], int.from_bytes(data[end - 4 : end])
        critical = not chunk_type[0] & ANCILLARY
        if critical and zlib.crc32(memoryview(data)[at + 4 : end - 4]) != crc:
            raise InvalidMedia(DAMAGED)
        if chunk_type == b"IEND":
            return
        yield chunk_type, data[at + 8 : end - 4] if chunk_type in CHUNKS_READ else b"", length
        at = end
    raise InvalidMedia(DAMAGED)
