"""The boxes an MP4 or MOV is made of (ISO/IEC 14496-12, section 4.2; QuickTime calls them atoms).

`Stream` finds the outermost ones in a file that comes in pieces, and keeps what is wanted of them;
`Tally.inside` finds those within one.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.media.domain.defects import Defect

# Ours. A box counts when it comes, and again when it is read: 8 s of 60 frames a second, with sound
# and a fragment for each, have 14,000.
MAX_BOXES = 50_000
MAX_KEPT_BYTES = 2_000_000  # ours: bytes of kept boxes together; 8 s of film have 0.3 MB at most

BOX_HEADER = struct.Struct(
    ">I4s"
)  # size and type; size 1: 64 bits of size follow, 0: to the file's end
LARGE_BOX_HEADER = struct.Struct(">I4sQ")

FILE_LEVEL = b""  # what holds the outermost boxes, as the kind of a box
BoxSelection = Mapping[
    bytes, frozenset[bytes]
]  # by a box's kind, those of the boxes wanted within it

VersionedLayout = tuple[
    struct.Struct, struct.Struct
]  # of a full box's version 0 and of its version 1
VERSION_FIELD = struct.Struct(
    ">B"
)  # ISO/IEC 14496-12, 4.2: begins a full box, then 3 bytes of flags
ENTRY_COUNT = struct.Struct(">4xI")  # and often a count after these


class InvalidMedia(Exception):
    """Reading ends here, with the flaw that ended it."""

    def __init__(self, flaw: Defect) -> None:
        super().__init__()
        self.flaw = flaw


def damaged(why: str) -> InvalidMedia:
    return InvalidMedia(Defect("damaged", f"is damaged: {why}"))


def layout_of_version(body: memoryview, layouts: VersionedLayout) -> struct.Struct:
    """That of the full box's own version; struct.error if it is too short to say one."""
    return layouts[VERSION_FIELD.unpack_from(body) == (1,)]


def unpack_versioned(body: memoryview, layouts: VersionedLayout) -> tuple[Any, ...]:
    """The fields of a full box by its version; struct.error if it is too short for them."""
    return layout_of_version(body, layouts).unpack_from(body)


class BoxBudget:
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
        while at + BOX_HEADER.size <= len(data):
            self.spend(1)
            size, kind = BOX_HEADER.unpack_from(data, at)
            head = BOX_HEADER
            if size == 1:
                head = LARGE_BOX_HEADER
                size = LARGE_BOX_HEADER.unpack_from(data, at)[2]
            if not head.size <= size <= len(data) - at:
                break
            yield kind, data[at + head.size : at + size]
            at += size
        if bytes(data[at:]).strip(b"\0"):
            raise damaged("a box in it does not fit into the one around it")


@dataclass(frozen=True, slots=True)
class Box:
    """A whole outermost box; `body` is what is wanted of it: nothing of an unwanted one."""

    kind: bytes
    body: bytearray


@dataclass(slots=True)
class _OpenBox:
    """A box that has begun. `left` bytes of it are to come, None: as many as the file has.

    A `kept` one is kept as it is or, if it is `walked`, box by box; any other is skipped. Its
    content begins at `start` of what is kept of the outermost box.
    """

    kind: bytes
    left: int | None
    kept: bool = False
    walked: bool = False
    start: int = 0


class BoxReader:
    """The outermost boxes of a file that is fed in pieces, with what is wanted of them.

    `wanted` has the kinds to be kept: of outermost boxes under FILE, of those within another under
    that one's kind. A kept box whose own kind is not there is kept as it is. All else is skipped as
    it comes. Raises Broken if there are too many boxes, or too many bytes to be kept.
    """

    def __init__(self, wanted: BoxSelection, tally: BoxBudget) -> None:
        self._wanted, self._tally = wanted, tally
        self._head = bytearray()
        self._open: list[_OpenBox] = []
        self._kept = bytearray()
        self._room = MAX_KEPT_BYTES
        self._at = 0
        self.whole = 0
        """Where the last whole outermost box ends, in bytes from the file's start."""
        self.end = 0
        """Where the last outermost box that has begun says it ends."""
        self.flaw: Defect | None = None
        """Why what has begun cannot be a box; then it is skipped to the file's end."""

    @property
    def begun(self) -> bytes | None:
        """The kind of the outermost box that has begun and is not whole, or as much of it as has
        come; None if there is none. Zeros behind the last box begin none."""
        if self._open:
            return self._open[0].kind
        return bytes(self._head[4:8]) if self._head.strip(b"\0") else None

    def feed(self, data: memoryview) -> Iterator[Box]:
        """The boxes that are whole with this piece."""
        while data:
            within = self._open[-1] if self._open else None
            piece = data if within is None else data[: within.left]
            if within is None or within.walked:
                piece = piece[: self._head_size() - len(self._head)]
            self._pass(len(piece))
            if within is None or within.walked:
                self._begin(within, piece)
            elif within.kept:
                self._keep(piece)
            data = data[len(piece) :]
            yield from self._closed()

    def finish(self) -> Iterator[Box]:
        """The box that ends with the file, if one does."""
        if len(self._open) == 1 and self._open[0].left is None and not self._head.strip(b"\0"):
            self._open[0].left = 0
            yield from self._closed()

    def _pass(self, size: int) -> None:
        self._at += size
        for box in self._open:
            if box.left is not None:
                box.left -= size

    def _head_size(self) -> int:
        return LARGE_BOX_HEADER.size if self._head.startswith(b"\0\0\0\1") else BOX_HEADER.size

    def _begin(self, within: _OpenBox | None, piece: memoryview) -> None:
        """Take in some of a head, and open its box once it is whole."""
        self._head += piece
        if len(self._head) == self._head_size():
            self._tally.spend(1)
            kind, left = self._told()
            if within is None:
                self._head.clear()
                self._open.append(self._outermost(kind, left))
            else:
                self._enter(within, kind, left)
        elif within is not None and within.left == 0:
            self._leave_be(within)

    def _told(self) -> tuple[bytes, int | None]:
        """What the head says: the kind, and how many bytes follow. None: as many as the file has;
        a negative number: it is none."""
        size, kind = BOX_HEADER.unpack_from(self._head)
        if size == 0:
            return kind, None
        if size == 1:
            size = LARGE_BOX_HEADER.unpack(self._head)[2]
        return kind, size - len(self._head)

    def _outermost(self, kind: bytes, left: int | None) -> _OpenBox:
        if left is not None and left < 0:
            self.flaw = damaged("a box is smaller than its own header").flaw
            return _OpenBox(kind, None)
        self.end = self._at + (left or 0)
        kept = kind in self._wanted[FILE_LEVEL]
        return _OpenBox(kind, left, kept, kept and kind in self._wanted)

    def _enter(self, within: _OpenBox, kind: bytes, left: int | None) -> None:
        if left is None or left < 0 or (within.left is not None and left > within.left):
            self._leave_be(within)
            return
        self._head.clear()
        kept = kind in self._wanted[within.kind]
        if kept:
            self._keep(bytes(BOX_HEADER.size))  # its head, once its size is known
        self._open.append(
            _OpenBox(kind, left, kept, kept and kind in self._wanted, len(self._kept))
        )

    def _leave_be(self, within: _OpenBox) -> None:
        """What is left of it is no box; whoever reads it will see whether it may be there."""
        within.walked = False
        self._keep(self._head)
        self._head.clear()

    def _keep(self, piece: memoryview | bytearray | bytes) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise damaged(f"its headers take more than {MAX_KEPT_BYTES:,} bytes")
        self._kept += piece

    def _closed(self) -> Iterator[Box]:
        """End the boxes of which nothing is to come."""
        while self._open and self._open[-1].left == 0:
            box = self._open.pop()
            if self._open and box.kept:
                size = BOX_HEADER.size + len(self._kept) - box.start
                BOX_HEADER.pack_into(self._kept, box.start - BOX_HEADER.size, size, box.kind)
            elif not self._open:
                self.whole = self._at
                kept, self._kept = self._kept, bytearray()
                yield Box(box.kind, kept)
