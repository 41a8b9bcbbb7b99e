"""A film of four seconds that no player could show: what a reader of headers wants, and no
pictures. For requests that need one, where nothing is installed that makes films."""

import struct
from typing import Final

SIZE: Final = (1920, 1080)  # pixels; within rule P19
SECONDS: Final = 4
TICKS: Final = 600  # a second
NOT_ROTATED: Final = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


def film() -> bytes:
    """The file, as MP4."""
    kind = _box(b"ftyp", b"isom\0\0\2\0isommp42")
    pictures = _box(b"mdat", bytes(64))
    return kind + pictures + _box(b"moov", _header(b"mvhd"), _track(len(kind) + 8))


def _track(pictures_at: int) -> bytes:
    head = _full(b"tkhd", bytes(8), 1, bytes(24), struct.pack(">9i", *NOT_ROTATED), bytes(8))
    shape = _box(b"mp4v", bytes(24), struct.pack(">HH", *SIZE), bytes(50))
    samples = _box(
        b"stbl",
        _full(b"stsd", 1, shape),
        _full(b"stts", 1, SECONDS, TICKS),
        _full(b"stsc", 1, 1, SECONDS, 1),
        _full(b"stsz", 4, SECONDS),
        _full(b"stco", 1, pictures_at),
    )
    kind = _full(b"hdlr", b"mhlr", b"vide", bytes(16))
    media = _box(b"minf", _full(b"hdlr", b"dhlralis", bytes(16)), samples)
    return _box(b"trak", head, _box(b"mdia", _header(b"mdhd"), kind, media))


def _header(kind: bytes) -> bytes:
    return _full(kind, bytes(8), TICKS, SECONDS * TICKS, bytes(80))


def _full(kind: bytes, *words: int | bytes) -> bytes:
    """A box with a version, 0, whose content is these 32-bit numbers, and bytes as they are."""
    parts = (word if isinstance(word, bytes) else struct.pack(">I", word) for word in words)
    return _box(kind, bytes(4), *parts)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body
