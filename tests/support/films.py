"""Films for the tests of the reader of videos: real ones made by PyAV, and sketches, box by box."""

import io
import math
import struct
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av.container

from service.media.domain.defects import Defect
from service.media.domain.video import Video, VideoInspector

TICKS = 90_000  # of the real films' video tracks, a second
RATE = 2  # pictures a second: few are enough
SOUND = 44_100
FULL_HD = (1920, 1080)


@dataclass(frozen=True)
class Finding:
    """What PyAV says of a film."""

    width: int
    height: int
    seconds: Fraction
    turned: int


@dataclass(frozen=True)
class Recipe:
    """`flags` are the muxer's, `between` the B-frames, `pixel` is width by height."""

    seconds: Fraction | int = 4
    size: tuple[int, int] = FULL_HD
    kind: str = "mp4"
    codec: str = "libx264"
    flags: str = ""
    between: int = 0
    start: Fraction | int = 0
    sound: Fraction | int = 0
    pixel: Fraction | int = 1


def film(seconds: Fraction | int = 4, size: tuple[int, int] = FULL_HD, **how: Any) -> bytes:  # noqa: ANN401
    """A grey film by a `Recipe`."""
    return _made(Recipe(seconds, size, **how))


@cache
def _made(recipe: Recipe) -> bytes:
    options = {"video_track_timescale": str(TICKS)}
    if recipe.flags:
        options["movflags"] = recipe.flags
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{recipe.kind}"
        with av.open(str(path), "w", format=recipe.kind, options=options) as out:
            if recipe.codec:
                _add_pictures(out, recipe)
            if recipe.sound:
                out.add_stream("aac", rate=SOUND, layout="mono")
            _mux_pictures(out, Fraction(recipe.seconds), Fraction(recipe.start))
            _mux_sound(out, Fraction(recipe.sound))
        return path.read_bytes()


def _add_pictures(out: av.container.OutputContainer, recipe: Recipe) -> None:
    options = {"preset": "ultrafast", "bf": str(recipe.between), "threads": "1"}
    if recipe.codec != "libx264":
        options = {"qscale": "31"}
    stream = out.add_stream(recipe.codec, rate=RATE, options=options)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height = recipe.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.sample_aspect_ratio = Fraction(recipe.pixel)


def _mux_pictures(out: av.container.OutputContainer, seconds: Fraction, start: Fraction) -> None:
    for stream in out.streams.video:
        count = math.ceil(seconds * RATE)
        grey = av.VideoFrame(stream.width, stream.height, "yuv420p")
        for plane in grey.planes:
            plane.update(b"\x80" * plane.buffer_size)
        packets = []
        for number in range(count):
            grey.pts, grey.time_base = number, Fraction(1, RATE)
            packets += stream.encode(grey)
        packets += stream.encode()
        for packet in packets:
            assert packet.pts is not None
            assert packet.dts is not None
            last = packet.pts == count - 1
            length = seconds - Fraction(count - 1, RATE) if last else Fraction(1, RATE)
            packet.pts = int((start + Fraction(packet.pts, RATE)) * TICKS)
            packet.dts = int((start + Fraction(packet.dts, RATE)) * TICKS)
            packet.duration = int(length * TICKS)
            packet.time_base = Fraction(1, TICKS)
            out.mux(packet)


def _mux_sound(out: av.container.OutputContainer, seconds: Fraction) -> None:
    for stream in out.streams.audio:
        left, at = int(seconds * SOUND), 0
        while at < left:
            count = min(1024, left - at)
            silence = av.AudioFrame("fltp", "mono", count)
            silence.planes[0].update(bytes(silence.planes[0].buffer_size))
            silence.sample_rate, silence.pts = SOUND, at
            silence.time_base = Fraction(1, SOUND)
            out.mux(stream.encode(silence))
            at += count
        out.mux(stream.encode())


def found(data: bytes) -> Finding:
    """What PyAV finds in a film, its first picture decoded."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        seconds = stream.duration * stream.time_base
        turned = next(container.decode(stream)).rotation
        return Finding(stream.width, stream.height, seconds, turned)


def judged(data: bytes, piece: int | None = None) -> Video | Defect:
    """What our own reader finds, fed in pieces of this size."""
    reader = VideoInspector()
    for at in range(0, len(data), piece or max(1, len(data))):
        reader.feed(data[at : at + (piece or len(data))])
    return reader.finish()


def code(data: bytes) -> str:
    """The code of its flaw; `good` if it has none."""
    flaw = judged(data)
    return flaw.code if isinstance(flaw, Defect) else "good"


def patched(data: bytes, kind: bytes, at: int, new: bytes) -> bytes:
    """The same with `new` in the content of its first box of a kind, from byte `at` on."""
    at += data.index(kind) + 4
    return data[:at] + new + data[at + len(new) :]


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def large(kind: bytes, *parts: bytes) -> bytes:
    """The same with 64 bits of size."""
    body = b"".join(parts)
    return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body


UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
LEFT = (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
RIGHT = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
FTYP = box(b"ftyp", b"isom\0\0\2\0isommp42")
MDAT = box(b"mdat", bytes(64))
SCALE = 600  # of the sketches, for movie and track


def full(kind: bytes, version: int, *words: int | bytes) -> bytes:
    """A full box of 32-bit numbers, and bytes as they are."""
    parts = (word if isinstance(word, bytes) else struct.pack(">I", word) for word in words)
    return box(kind, bytes((version, 0, 0, 0)), *parts)


def timed(kind: bytes, scale: int, ticks: int, version: int = 0) -> bytes:
    """`mvhd` or `mdhd`."""
    if version:
        return full(kind, 1, bytes(16), scale, struct.pack(">Q", ticks), bytes(80))
    return full(kind, 0, bytes(8), scale, ticks, bytes(80))


def heading(matrix: tuple[int, ...] = UPRIGHT, number: int = 1, version: int = 0) -> bytes:
    """`tkhd`."""
    before, after = (bytes(16), bytes(28)) if version else (bytes(8), bytes(24))
    return full(b"tkhd", version, before, number, after, struct.pack(">9i", *matrix), bytes(8))


def edits(*listed: tuple[int, int], version: int = 0) -> bytes:
    """`edts` with edits of (movie ticks, start in the track's ticks)."""
    entry = ">QqI" if version else ">IiI"
    entries = (struct.pack(entry, length, start, 65536) for length, start in listed)
    return box(b"edts", full(b"elst", version, len(listed), *entries))


def shape(size: tuple[int, int] = FULL_HD, *within: bytes, kind: bytes = b"mp4v") -> bytes:
    """A visual sample entry."""
    return box(kind, bytes(24), struct.pack(">HH", *size), bytes(50), *within)


def tables(
    *shapes: bytes,
    each: int = SCALE,
    samples: int = 4,
    at: int = 40,
    sizes: bytes | None = None,
    more: bytes = b"",
) -> bytes:
    """`minf` with a `stbl`: `samples` of `each` ticks, in one chunk that begins at byte `at`."""
    stbl = box(
        b"stbl",
        full(b"stsd", 0, len(shapes or (1,)), *(shapes or (shape(),))),
        full(b"stts", 0, 1, samples, each),
        full(b"stsc", 0, 1, 1, samples, 1),
        full(b"stsz", 0, 4, samples) if sizes is None else sizes,
        full(b"stco", 0, 1, at),
        more,
    )
    return box(b"minf", full(b"hdlr", 0, b"dhlralis", bytes(16)), stbl)


def track(
    minf: bytes | None = None,
    *more: bytes,
    head: bytes | None = None,
    times: bytes | None = None,
    handler: bytes = b"vide",
) -> bytes:
    """A `trak`, of four seconds unless its parts say otherwise."""
    hdlr = full(b"hdlr", 0, b"mhlr", handler, bytes(16))
    mdia = box(b"mdia", times or timed(b"mdhd", SCALE, 4 * SCALE), hdlr, minf or tables())
    return box(b"trak", heading() if head is None else head, *more, mdia)


def movie(*parts: bytes, seconds: int = 4, version: int = 0) -> bytes:
    """A `moov`."""
    return box(b"moov", timed(b"mvhd", SCALE, seconds * SCALE, version), *parts)


def sketch(*parts: bytes, ftyp: bytes = FTYP, mdat: bytes = MDAT) -> bytes:
    """A file with this `moov` content after its header; one good track if there is none."""
    return ftyp + mdat + movie(*(parts or (track(),)))


TREX = full(b"trex", 0, 1, 1, SCALE, 0, 0)
EMPTY = tables(samples=0)
INIT = movie(track(EMPTY), box(b"mvex", full(b"mehd", 0, 4 * SCALE), TREX), seconds=0)


def flagged(kind: bytes, flags: int, *words: int | bytes) -> bytes:
    """A full box with flags."""
    content = full(kind, 0, *words)
    return content[:9] + flags.to_bytes(3) + content[12:]


def fragment(*runs: bytes, number: int = 1, head: bytes | None = None) -> bytes:
    """A `moof` with samples of one track."""
    traf = box(b"traf", flagged(b"tfhd", 0, number) if head is None else head, *runs)
    return box(b"moof", full(b"mfhd", 0, 1), traf)


def run(samples: int, flags: int = 0, *words: int) -> bytes:
    """A `trun`."""
    return flagged(b"trun", flags, samples, *words)


def fragmented(*fragments: bytes, init: bytes = INIT) -> bytes:
    """A file of fragments, each with its bytes after it."""
    return FTYP + init + b"".join(part + MDAT for part in fragments)
