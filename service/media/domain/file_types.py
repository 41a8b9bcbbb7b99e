"""Recognising MP4 and MOV by a file's first bytes and by the brands in its `ftyp` box.

Rule P98 of service/provider/README.md. Sources: ISO/IEC 14496-12, section 4.3 and annex E;
QuickTime File Format, "File type".
"""

from collections.abc import Iterable
from typing import Literal

from service.media.domain.defects import TRUNCATED, Defect, InvalidMedia

VideoFormat = Literal["mp4", "mov"]
Signatures = Iterable[tuple[str, int, bytes | tuple[bytes, ...]]]  # format, offset, any of these

# MOV files older than `ftyp` begin with one of the others.
FIRST_BOX_TYPES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
SIGNATURE_BYTES = 16  # how many first bytes tell every format below
MOV_BRAND = b"qt  "
# Any of these makes a file an MP4, whatever its first brand: who writes one promises that a reader
# of MP4 takes the file. Those of MP4_BRANDS count unless the first brand is a foreign one.
ISO_BRANDS = frozenset(b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1".split())
MP4_BRANDS = frozenset({*b"isoa isob isoc dash cmfc".split(), b"M4V ", b"M4VH", b"M4VP"})
MAX_BRANDS = 100  # ours; real files name three to eight
FOREIGN_BRAND_PREFIXES = (  # format, beginnings of the first brand
    ("3GPP", (b"3g",)),
    ("HEIC", (b"he",)),
    ("HEIC or AVIF", (b"mif1", b"msf1")),
    ("AVIF", (b"avi",)),
    ("M4A", (b"M4A", b"M4B")),
    ("Flash Video", (b"F4", b"f4")),
    ("JPEG 2000", (b"jp", b"mj")),
    ("a camera's raw image", (b"crx",)),
)
FOREIGN_SIGNATURES: Signatures = (  # so that the message can name what a file is instead
    ("WebM or Matroska", 0, b"\x1a\x45\xdf\xa3"),
    ("AVI", 8, b"AVI "),
    ("WebP", 8, b"WEBP"),
    ("Flash Video", 0, b"FLV"),
    ("MPEG-PS", 0, b"\0\0\1\xba"),
    ("MPEG-TS", 0, b"G@"),
    ("Windows Media", 0, b"\x30\x26\xb2\x75"),
    ("Ogg", 0, b"OggS"),
    ("GIF", 0, b"GIF8"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG"),
    ("JPEG 2000", 4, b"jP  "),
    ("a part of a stream, without its beginning", 4, (b"styp", b"moof")),
    ("a playlist", 0, b"#EXTM3U"),
    ("PDF", 0, b"%PDF"),
    ("XML or HTML", 0, b"<"),
)


def name_by_signature(data: bytes, signatures: Signatures) -> str:
    """Name the format of a file for a message: "something else" if no signature fits, "empty"
    without data."""
    names = (name for name, offset, marks in signatures if data.startswith(marks, offset))
    return next(names, "something else" if data else "empty")


def check_signature(data: bytes) -> None:
    """Check that a file may be an MP4 or MOV by its first SIGNATURE_BYTES, or by all it has.

    Raises InvalidMedia (`wrong_type` or `truncated`) if not.
    """
    if data[4:8] in FIRST_BOX_TYPES:
        return
    name = name_by_signature(data, FOREIGN_SIGNATURES)
    if name == "something else" and len(data) < SIGNATURE_BYTES // 2:
        raise InvalidMedia(TRUNCATED)
    raise _wrong_type(name)


def format_of_brands(ftyp: bytes) -> VideoFormat:
    """Read the format from the content of an `ftyp` box; raises InvalidMedia for any other."""
    major, others = ftyp[:4], ftyp[8 : 8 + 4 * MAX_BRANDS]
    if major == MOV_BRAND:
        return "mov"
    brands = {major, *(others[at : at + 4] for at in range(0, len(others), 4))}
    if brands & ISO_BRANDS:
        return "mp4"
    for name, prefixes in FOREIGN_BRAND_PREFIXES:
        if major.startswith(prefixes):
            raise _wrong_type(name)
    if brands & MP4_BRANDS:
        return "mp4"
    if MOV_BRAND in brands:
        return "mov"
    raise _wrong_type(f"of the brand {major.decode('ascii', 'replace').strip()!a}")


def _wrong_type(name: str) -> InvalidMedia:
    return InvalidMedia(Defect("wrong_type", f"must be an MP4 or MOV by content; this is {name}"))
