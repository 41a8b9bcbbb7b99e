"""Video files encoded by PyAV, what PyAV reads in them, and what our own reader does."""

import io
import math
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av.container

from service.media.domain.defects import Defect
from service.media.domain.video import Video, VideoInspector

VIDEO_TIMESCALE = 90_000  # of the real films' video tracks, a second
FRAME_RATE = 2  # pictures a second: few are enough
AUDIO_RATE = 44_100
FULL_HD = (1920, 1080)


@dataclass(frozen=True)
class PyAVReading:
    """What PyAV reads in a video file."""

    width: int
    height: int
    seconds: Fraction
    rotation: int


@dataclass(frozen=True)
class VideoSpec:
    """What to encode."""

    seconds: Fraction | int = 4
    size: tuple[int, int] = FULL_HD
    kind: str = "mp4"  # the container
    codec: str = "libx264"  # empty for no video track
    flags: str = ""  # of the muxer
    b_frames: int = 0
    start: Fraction | int = 0  # seconds
    audio_seconds: Fraction | int = 0
    pixel_aspect: Fraction | int = 1  # width by height


def video_file(seconds: Fraction | int = 4, size: tuple[int, int] = FULL_HD, **how: Any) -> bytes:  # noqa: ANN401
    """A grey video; `how` are further fields of `VideoSpec`."""
    return _encoded(VideoSpec(seconds, size, **how))


@cache
def _encoded(recipe: VideoSpec) -> bytes:
    options = {"video_track_timescale": str(VIDEO_TIMESCALE)}
    if recipe.flags:
        options["movflags"] = recipe.flags
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{recipe.kind}"
        with av.open(str(path), "w", format=recipe.kind, options=options) as out:
            if recipe.codec:
                _add_video_stream(out, recipe)
            if recipe.audio_seconds:
                out.add_stream("aac", rate=AUDIO_RATE, layout="mono")
            _mux_video(out, Fraction(recipe.seconds), Fraction(recipe.start))
            _mux_audio(out, Fraction(recipe.audio_seconds))
        return path.read_bytes()


def _add_video_stream(out: av.container.OutputContainer, recipe: VideoSpec) -> None:
    options = {"preset": "ultrafast", "bf": str(recipe.b_frames), "threads": "1"}
    if recipe.codec != "libx264":
        options = {"qscale": "31"}
    stream = out.add_stream(recipe.codec, rate=FRAME_RATE, options=options)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height = recipe.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.sample_aspect_ratio = Fraction(recipe.pixel_aspect)


def _mux_video(out: av.container.OutputContainer, seconds: Fraction, start: Fraction) -> None:
    for stream in out.streams.video:
        count = math.ceil(seconds * FRAME_RATE)
        grey = av.VideoFrame(stream.width, stream.height, "yuv420p")
        for plane in grey.planes:
            plane.update(b"\x80" * plane.buffer_size)
        packets = []
        for number in range(count):
            grey.pts, grey.time_base = number, Fraction(1, FRAME_RATE)
            packets += stream.encode(grey)
        packets += stream.encode()
        for packet in packets:
            assert packet.pts is not None
            assert packet.dts is not None
            last = packet.pts == count - 1
            length = seconds - Fraction(count - 1, FRAME_RATE) if last else Fraction(1, FRAME_RATE)
            packet.pts = int((start + Fraction(packet.pts, FRAME_RATE)) * VIDEO_TIMESCALE)
            packet.dts = int((start + Fraction(packet.dts, FRAME_RATE)) * VIDEO_TIMESCALE)
            packet.duration = int(length * VIDEO_TIMESCALE)
            packet.time_base = Fraction(1, VIDEO_TIMESCALE)
            out.mux(packet)


def _mux_audio(out: av.container.OutputContainer, seconds: Fraction) -> None:
    for stream in out.streams.audio:
        left, at = int(seconds * AUDIO_RATE), 0
        while at < left:
            count = min(1024, left - at)
            silence = av.AudioFrame("fltp", "mono", count)
            silence.planes[0].update(bytes(silence.planes[0].buffer_size))
            silence.sample_rate, silence.pts = AUDIO_RATE, at
            silence.time_base = Fraction(1, AUDIO_RATE)
            out.mux(stream.encode(silence))
            at += count
        out.mux(stream.encode())


def read_by_pyav(data: bytes) -> PyAVReading:
    """What PyAV reads in a video file, its first frame decoded."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        seconds = stream.duration * stream.time_base
        turned = next(container.decode(stream)).rotation
        return PyAVReading(stream.width, stream.height, seconds, turned)


def inspect(data: bytes, piece: int | None = None) -> Video | Defect:
    """What our own reader finds when it is fed pieces of this size, or all at once."""
    reader = VideoInspector()
    for at in range(0, len(data), piece or max(1, len(data))):
        reader.feed(data[at : at + (piece or len(data))])
    return reader.finish()


def defect_code(data: bytes) -> str:
    """The code of the video's defect; `good` if it has none."""
    result = inspect(data)
    return result.code if isinstance(result, Defect) else "good"
