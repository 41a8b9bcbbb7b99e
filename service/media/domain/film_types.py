"""Which kind of file a film is, by its first bytes and by the brands in its `ftyp` box.

Sources: ISO/IEC 14496-12, section 4.3 and annex E; QuickTime File Format, "File type".
"""

from typing import Literal

from service.media.domain.defects import Defect
from service.media.domain.image import TRUNCATED
from service.media.domain.mp4_boxes import InvalidMedia

Kind = Literal["mp4", "mov"]

# What a file may begin with: MOV files older than `ftyp` begin with one of the others.
FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
START = 16  # bytes that tell every kind below
MOV = b"qt  "
# Brands of MP4, whatever brand comes first: who writes one promises that a reader of MP4 takes it.
ISO = frozenset(b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1".split())
# These count unless the first brand is one of another kind.
MP4 = frozenset({*b"isoa isob isoc dash cmfc".split(), b"M4V ", b"M4VH", b"M4VP"})
MAX_BRANDS = 100  # ours; real files name three to eight
# How the first brand begins of files of another kind.
FOREIGN = (
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
SEGMENT = "a part of a stream, without its beginning"
OTHERS = (  # name, offset, bytes: only so that the message can say what it is instead
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
    (SEGMENT, 4, b"styp"),
    (SEGMENT, 4, b"moof"),
    ("a playlist", 0, b"#EXTM3U"),
    ("PDF", 0, b"%PDF"),
    ("XML or HTML", 0, b"<"),
)


def check_start(data: bytes) -> None:
    """Raises Broken unless a film begins like this: `START` bytes, or all there are."""
    if data[4:8] in FIRST:
        return
    names = (name for name, at, mark in OTHERS if data.startswith(mark, at))
    what = next(names, None)
    if what is None and 0 < len(data) < START // 2:
        raise InvalidMedia(TRUNCATED)
    raise _foreign(what or ("something else" if data else "empty"))


def kind_of(ftyp: bytes) -> Kind:
    """The kind that the content of an `ftyp` box states; raises Broken if it is neither."""
    major, others = ftyp[:4], ftyp[8 : 8 + 4 * MAX_BRANDS]
    if major == MOV:
        return "mov"
    brands = {major, *(others[at : at + 4] for at in range(0, len(others), 4))}
    if brands & ISO:
        return "mp4"
    for name, mark in FOREIGN:
        if major.startswith(mark):
            raise _foreign(name)
    if brands & MP4:
        return "mp4"
    if MOV in brands:
        return "mov"
    raise _foreign(f"of the brand {major.decode('ascii', 'replace').strip()!a}")


def _foreign(what: str) -> InvalidMedia:
    return InvalidMedia(Defect("wrong_type", f"must be an MP4 or MOV by content; this is {what}"))
