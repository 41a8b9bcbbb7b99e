"""The boxes an MP4 or MOV is made of (ISO/IEC 14496-12, section 4.2; QuickTime calls them atoms).

`Stream` finds the outermost ones in a file that comes in pieces, `Tally.inside` those within one.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.core.images import TRUNCATED, Flaw

MAX_BOXES = 50_000  # ours: of the walked kinds; 8 s of 60 frames/s, a fragment each, are 7,000
MAX_KEPT = 2_000_000  # ours: bytes of kept boxes together; 8 s of film have 0.3 MB at most

HEAD = struct.Struct(">I4s")  # size and type; size 1: 64 bits of size follow, 0: to the file's end
LARGE = struct.Struct(">I4sQ")

Layouts = tuple[struct.Struct, struct.Struct]  # of a full box's version 0 and of its version 1
VERSION = struct.Struct(">B")  # section 4.2: what a full box begins with, then 3 bytes of flags
COUNT = struct.Struct(">4xI")  # and often a count after these


class Broken(Exception):
    """Reading ends here, with the flaw that ended it."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__()
        self.flaw = flaw


def damaged(why: str) -> Broken:
    return Broken(Flaw("damaged", f"is damaged: {why}"))


def layout(body: memoryview, layouts: Layouts) -> struct.Struct:
    """That of the full box's own version; struct.error if it is too short to say one."""
    return layouts[VERSION.unpack_from(body) == (1,)]


def versioned(body: memoryview, layouts: Layouts) -> tuple[Any, ...]:
    """The fields of a full box by its version; struct.error if it is too short for them."""
    return layout(body, layouts).unpack_from(body)


class Tally:
    """Counts what is walked in one file, so that a hostile one costs no more than a real one."""

    def __init__(self) -> None:
        self._left = MAX_BOXES

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise damaged(f"it has more than {MAX_BOXES:,} parts")

    def inside(self, data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        """Type and content of each box in a box. Zeros may follow: QuickTime ends lists so."""
        at = 0
        while at + HEAD.size <= len(data):
            self.spend(1)
            size, kind = HEAD.unpack_from(data, at)
            head = HEAD
            if size == 1:
                head = LARGE
                size = LARGE.unpack_from(data, at)[2]
            if not head.size <= size <= len(data) - at:
                break
            yield kind, data[at + head.size : at + size]
            at += size
        if bytes(data[at:]).strip(b"\0"):
            raise damaged("a box in it does not fit into the one around it")


@dataclass(slots=True)
class Box:
    """An outermost box as it arrives: `body` only of a kept kind, `left` None to the file's end."""

    kind: bytes
    body: bytearray
    left: int | None
    kept: bool


class Stream:
    """The outermost boxes of a file that is fed in pieces; raises Broken.

    Keeps the bytes of the kinds in `keep`, at most `MAX_KEPT` in all; of others it keeps none.
    """

    def __init__(self, keep: frozenset[bytes], tally: Tally) -> None:
        self._keep, self._tally = keep, tally
        self._head = bytearray()
        self._box: Box | None = None
        self._room = MAX_KEPT
        self.end = 0
        """Where the last box that has begun says it ends, in bytes from the file's start."""

    def feed(self, data: memoryview) -> Iterator[Box]:
        """The boxes that are whole with this piece."""
        while data:
            data = self._fill(self._box, data) if self._box else self._begin(data)
            if self._box is not None and self._box.left == 0:
                whole, self._box = self._box, None
                yield whole

    def finish(self) -> Iterator[Box]:
        """The box that ends with the file, if one does."""
        if self._head.strip(b"\0") or (self._box and self._box.left is not None):
            raise Broken(TRUNCATED)
        if self._box:
            yield self._box

    def _begin(self, data: memoryview) -> memoryview:
        size = self._head_size()
        missing = size - len(self._head)
        self._head += data[:missing]
        if len(self._head) == self._head_size():
            self._box, self._head = self._open(), bytearray()
        return data[missing:]

    def _head_size(self) -> int:
        return LARGE.size if self._head.startswith(b"\0\0\0\1") else HEAD.size

    def _open(self) -> Box:
        self._tally.spend(1)
        size, kind = HEAD.unpack_from(self._head)
        kept = kind in self._keep
        if size == 0:
            return Box(kind, bytearray(), None, kept)
        if size == 1:
            size = LARGE.unpack(self._head)[2]
        left = size - len(self._head)
        if left < 0:
            raise damaged("a box is smaller than its own header")
        self.end += size
        self._make_room(left if kept else 0)
        return Box(kind, bytearray(), left, kept)

    def _fill(self, box: Box, data: memoryview) -> memoryview:
        piece = data[: box.left]
        if box.left is None:
            self._make_room(len(piece) if box.kept else 0)
        else:
            box.left -= len(piece)
        if box.kept:
            box.body += piece
        return data[len(piece) :]

    def _make_room(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise damaged(f"its headers take more than {MAX_KEPT:,} bytes")
