"""Image headers: both sides of every limit on real bytes, and nothing raised on hostile ones."""

import io
import struct
import warnings
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from service.media.domain.defects import Defect
from service.media.domain.image import (
    MAX_BYTES,
    MAX_PARTS,
    MAX_PIXELS,
    PNG_SIGNATURE,
    Image,
    inspect,
)


def drawn(kind: str, size: tuple[int, int] = (320, 300), mode: str = "RGB", **how: object) -> bytes:
    out = io.BytesIO()
    Pillow.linear_gradient("L").resize(size).convert(mode).save(out, kind, **how)
    return out.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *between: bytes, kind: tuple[int, ...] = (8, 0, 0, 0, 0)) -> bytes:
    """A PNG of any size and kind that a header can claim, with no pixels worth the name."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind))
    return PNG_SIGNATURE + header + b"".join(between or (FEW,)) + chunk(b"IEND")


FEW = chunk(b"IDAT", b"\0" * 300_000)  # enough for 300 million bytes of pixels


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def frame(marker: int = 0xC0, precision: int = 8, components: int = 1) -> bytes:
    body = struct.pack(">BHHB", precision, 300, 320, components)
    return segment(marker, body + b"\x01\x11\x00" * components)


FRAME = frame()
SCAN = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\xff\x00\x34\xff\xd0\x56"
REAL_JPEG, REAL_PNG = drawn("JPEG"), drawn("PNG")


def code(data: bytes) -> str:
    found = inspect(data)
    assert isinstance(found, Defect)
    return found.code


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (REAL_JPEG, "jpeg"),
        (drawn("JPEG", progressive=True), "jpeg"),
        (drawn("JPEG", mode="L"), "jpeg"),
        (drawn("JPEG", mode="CMYK", comment=b"\xff\xd9 not the end"), "jpeg"),
        (drawn("JPEG", exif=b"Exif\0\0" + drawn("JPEG", (160, 120))), "jpeg"),
        (drawn("JPEG", restart_marker_blocks=1), "jpeg"),
        (REAL_JPEG + b"\0" * 100, "jpeg"),
        (drawn("MPO", save_all=True, append_images=[Pillow.new("RGB", (99, 99))]), "jpeg"),
        (jpeg(b"\xff\x01", b"\xff\xff" + FRAME, SCAN, b"\xff\xff"), "jpeg"),
        (REAL_PNG, "png"),
        (drawn("PNG", mode="RGBA"), "png"),
        (drawn("PNG", mode="P"), "png"),
        (drawn("PNG", mode="1"), "png"),
        (drawn("PNG", mode="I;16"), "png"),
        (png(320, 300, kind=(16, 6, 0, 0, 1)), "png"),
        (REAL_PNG + b"after the end", "png"),
    ],
)
def test_a_real_image_of_either_kind_is_measured(data: bytes, kind: str) -> None:
    assert inspect(data) == Image(kind, 320, 300)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 300), None),
        ((299, 300), "too_small"),
        ((299, 299), "too_small"),
        ((300, 750), None),
        ((300, 751), "ratio"),
        ((400, 1000), None),
        ((401, 1003), "ratio"),
    ],
)
def test_both_sides_of_every_size_limit_hold(
    kind: str,
    step: int,
    size: tuple[int, int],
    expected: str | None,
) -> None:
    width, height = size[::step]
    found = inspect(drawn(kind, (width, height)))
    if expected:
        assert isinstance(found, Defect)
        assert found.code == expected
        assert f"{width} x {height}" in found.message
    else:
        assert found == Image(kind.lower(), width, height)  # type: ignore[arg-type]


@pytest.mark.parametrize("real", [REAL_JPEG, REAL_PNG])
def test_ten_million_bytes_are_taken_and_one_more_is_not(real: bytes) -> None:
    full = real.ljust(MAX_BYTES, b"\0")
    assert isinstance(inspect(full), Image)
    assert code(full + b"\0") == "too_large"


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    assert code(png(2**31 - 1, 2**31 - 1)) == "too_many_pixels"
    side = int(MAX_PIXELS**0.5)
    assert inspect(png(side, side)) == Image("png", side, side)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (drawn("GIF"), "GIF"),
        (drawn("WEBP"), "WebP"),
        (drawn("BMP"), "BMP"),
        (drawn("TIFF"), "TIFF"),
        (b"MM\0*\0\0", "TIFF"),
        (b"\0\0\0\x1cftypheic", "HEIC, AVIF or a video"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg/>", "XML or HTML"),
        (b"plain text", "something else"),
        (b"", "empty"),
    ],
)
def test_another_type_is_refused_by_name(data: bytes, what: str) -> None:
    found = inspect(data)
    assert isinstance(found, Defect)
    assert found == Defect("wrong_type", f"must be a JPEG or PNG by content; this is {what}")


@pytest.mark.parametrize("real", [REAL_JPEG, REAL_PNG, drawn("JPEG", progressive=True)])
def test_an_image_cut_anywhere_is_refused(real: bytes) -> None:
    for end in range(1, len(real)):
        assert code(real[:end]) == "truncated"


def test_an_animated_png_is_refused_and_a_still_one_of_the_same_picture_is_not() -> None:
    frames = [Pillow.new("RGB", (300, 300), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    assert code(out.getvalue()) == "animated"


def animation(frames: int, rest: bytes = bytes(4)) -> bytes:
    return chunk(b"acTL", struct.pack(">I", frames) + rest)


CONTROL = chunk(b"fcTL", struct.pack(">5I2H2B", 0, 300, 300, 0, 0, 1, 10, 0, 0))


@pytest.mark.parametrize(
    "between",
    [
        (animation(1), CONTROL, FEW),
        (animation(1), animation(3), CONTROL, FEW),  # the first is the one that counts
        (FEW, animation(3)),
        (animation(0), FEW),
        (animation(3, bytes(3)), FEW),  # too short to be one
    ],
)
def test_a_png_is_a_still_unless_it_says_before_its_data_that_it_has_several_frames(
    between: tuple[bytes, ...],
) -> None:
    assert inspect(png(300, 300, *between)) == Image("png", 300, 300)
    assert code(png(300, 300, animation(2), *between)) == "animated"


@pytest.mark.parametrize(
    "data",
    [
        REAL_PNG[:16] + b"\1" + REAL_PNG[17:],  # IHDR no longer fits its CRC
        REAL_PNG.replace(b"IDAT", b"IDOT"),
        png(300, 300, chunk(b"tEXt", b"no pixels")),
        PNG_SIGNATURE + chunk(b"IDAT") + chunk(b"IHDR", b"\0" * 13) + chunk(b"IEND"),
        PNG_SIGNATURE + chunk(b"IHDR", b"\0" * 12) + chunk(b"IDAT") + chunk(b"IEND"),
        png(300, 300, *[chunk(b"IDAT")] * MAX_PARTS),
        png(300, 300, kind=(8, 1, 0, 0, 0)),  # no such colour type
        png(300, 300, kind=(4, 2, 0, 0, 0)),  # nor such a depth of it
        png(300, 300, kind=(8, 0, 1, 0, 0)),  # compression
        png(300, 300, kind=(8, 0, 0, 1, 0)),  # filter
        png(300, 300, kind=(8, 0, 0, 0, 2)),  # interlace
        png(300, 300, kind=(8, 3, 0, 0, 0)),  # no palette
        jpeg(FRAME),  # no scan
        jpeg(SCAN),  # no frame
        jpeg(FRAME, FRAME, SCAN),
        jpeg(segment(0xC0, b"\x08\x01"), SCAN),
        jpeg(frame(components=2), SCAN),
        jpeg(segment(0xC0, frame()[4:] + b"\0"), SCAN),
        jpeg(b"noise", FRAME, SCAN),
        jpeg(*[segment(0xFE, b"")] * MAX_PARTS, FRAME, SCAN),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(data: bytes) -> None:
    assert code(data) == "damaged"


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, *range(0xC9, 0xCC), 0xCD, 0xCE, 0xCF])
def test_a_jpeg_of_a_rare_kind_is_refused(marker: int) -> None:
    assert code(jpeg(frame(marker), SCAN)) == "coding"
    assert code(jpeg(frame(precision=12), SCAN)) == "coding"


def test_a_png_that_cannot_hold_the_pixels_of_its_header_is_cut_short() -> None:
    for data, expected in ((b"", "truncated"), (b"\0" * 87, "truncated"), (b"\0" * 88, None)):
        found = inspect(png(300, 300, chunk(b"IDAT", data)))
        assert (found.code if isinstance(found, Defect) else None) == expected


def test_pixels_beyond_those_of_the_header_are_not_unpacked() -> None:
    bomb = chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000))
    assert inspect(png(300, 300, bomb)) == Image("png", 300, 300)


def test_the_invented_images_of_this_file_are_good_but_for_what_they_show() -> None:
    for components in (1, 3, 4):
        assert isinstance(inspect(jpeg(frame(components=components), SCAN)), Image)
    assert isinstance(inspect(png(300, 300)), Image)


@given(
    st.sampled_from([b"", REAL_JPEG[:2], PNG_SIGNATURE, REAL_PNG[:33], jpeg(FRAME)[:-2]]),
    st.binary(),
)
def test_hostile_bytes_are_judged_and_never_raise(start: bytes, rest: bytes) -> None:
    assert isinstance(inspect(start + rest), Image | Defect)


@given(
    st.sampled_from([REAL_JPEG, REAL_PNG]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_real_image_never_raises(real: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(real)
    for at, value in changes:
        data[at % len(data)] = value
    assert isinstance(inspect(bytes(data)), Image | Defect)


def read_by_pillow(data: bytes) -> tuple[str | None, tuple[int, int]] | None:
    """Format and size; None if it takes it for none of the two, or cannot read its pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                image.load()
                return image.format, image.size
    except (OSError, SyntaxError, ValueError):
        return None


@settings(deadline=None)  # Pillow decodes each
@given(
    st.sampled_from([REAL_JPEG, REAL_PNG, drawn("JPEG", progressive=True), drawn("PNG", mode="P")]),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_what_pillow_takes_too_has_the_size_that_it_says(
    real: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(real)
    for at, value in changes:
        data[at % len(data)] = value
    found, theirs = inspect(bytes(data)), read_by_pillow(bytes(data))
    if isinstance(found, Image) and theirs is not None:
        assert theirs == (found.format.upper(), (found.width, found.height))
