"""Which kind of file a film is, by its first bytes and by the brands in its `ftyp` box.

Sources: ISO/IEC 14496-12, section 4.3 and annex E; QuickTime File Format, "File type".
"""

from typing import Literal

from service.media.domain.defects import Defect
from service.media.domain.image import TRUNCATED
from service.media.domain.mp4_boxes import InvalidMedia

VideoFormat = Literal["mp4", "mov"]

# What a file may begin with: MOV files older than `ftyp` begin with one of the others.
FIRST_BOX_TYPES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
SIGNATURE_BYTES = 16  # bytes that tell every kind below
MOV_BRAND = b"qt  "
# Brands of MP4, whatever brand comes first: who writes one promises that a reader of MP4 takes it.
ISO_BRANDS = frozenset(b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1".split())
# These count unless the first brand is one of another kind.
MP4_BRANDS = frozenset({*b"isoa isob isoc dash cmfc".split(), b"M4V ", b"M4VH", b"M4VP"})
MAX_BRANDS = 100  # ours; real files name three to eight
# How the first brand begins of files of another kind.
FOREIGN_BRAND_PREFIXES = (
    ("3GPP", b"3g"),
    ("HEIC", b"he"),
    ("HEIC or AVIF", b"mif1"),
    ("HEIC or AVIF", b"msf1"),
    ("AVIF", b"avi"),
    ("M4A", b"M4A"),
    ("M4A", b"M4B"),
    ("Flash Video", b"F4"),
    ("Flash Video", b"f4"),
    ("JPEG 2000", b"jp"),
    ("JPEG 2000", b"mj"),
    ("a camera's raw image", b"crx"),
)
STREAM_SEGMENT = "a part of a stream, without its beginning"
FOREIGN_SIGNATURES = (  # name, offset, bytes: only so that the message can say what it is instead
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
    (STREAM_SEGMENT, 4, b"styp"),
    (STREAM_SEGMENT, 4, b"moof"),
    ("a playlist", 0, b"#EXTM3U"),
    ("PDF", 0, b"%PDF"),
    ("XML or HTML", 0, b"<"),
)


def check_signature(data: bytes) -> None:
    """Raises Broken unless a film begins like this: `START` bytes, or all there are."""
    if data[4:8] in FIRST_BOX_TYPES:
        return
    names = (name for name, at, mark in FOREIGN_SIGNATURES if data.startswith(mark, at))
    what = next(names, None)
    if what is None and 0 < len(data) < SIGNATURE_BYTES // 2:
        raise InvalidMedia(TRUNCATED)
    raise _wrong_type(what or ("something else" if data else "empty"))


def format_of_brands(ftyp: bytes) -> VideoFormat:
    """The kind that the content of an `ftyp` box states; raises Broken if it is neither."""
    major, others = ftyp[:4], ftyp[8 : 8 + 4 * MAX_BRANDS]
    if major == MOV_BRAND:
        return "mov"
    brands = {major, *(others[at : at + 4] for at in range(0, len(others), 4))}
    if brands & ISO_BRANDS:
        return "mp4"
    for name, mark in FOREIGN_BRAND_PREFIXES:
        if major.startswith(mark):
            raise _wrong_type(name)
    if brands & MP4_BRANDS:
        return "mp4"
    if MOV_BRAND in brands:
        return "mov"
    raise _wrong_type(f"of the brand {major.decode('ascii', 'replace').strip()!a}")


def _wrong_type(what: str) -> InvalidMedia:
    return InvalidMedia(Defect("wrong_type", f"must be an MP4 or MOV by content; this is {what}"))
