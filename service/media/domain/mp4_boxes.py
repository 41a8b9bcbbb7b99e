"""Finding the boxes of an MP4 or MOV file (ISO/IEC 14496-12, section 4.2; QuickTime's atoms).

`BoxReader` takes a file in pieces and keeps the boxes that are selected; `BoxBudget.children`
walks the boxes within one. Both raise InvalidMedia (`damaged`).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.media.domain.defects import Defect, InvalidMedia

# Ours. A box counts when it comes, and again when it is read: 8 s of 60 frames a second, with sound
# and a fragment for each, have 14,000.
MAX_BOXES = 50_000
MAX_KEPT_BYTES = 2_000_000  # ours: of all selected boxes; those of an 8 s video have 0.3 MB at most

BOX_HEADER = struct.Struct(">I4s")  # size, type; size 1: `largesize` follows, 0: to the file's end
LARGE_BOX_HEADER = struct.Struct(">I4sQ")  # 1, type, largesize

FILE_LEVEL = b""  # stands for the type of a box around the outermost ones
BoxSelection = Mapping[bytes, frozenset[bytes]]  # type of a box: types of the boxes kept within it

VersionedLayout = tuple[struct.Struct, struct.Struct]  # of a full box in version 0 and version 1
VERSION_FIELD = struct.Struct(">B")  # first of a full box (4.2), before 3 bytes of flags
ENTRY_COUNT = struct.Struct(">4xI")  # of a table, behind version and flags


def damaged(reason: str) -> InvalidMedia:
    """Build the error for a file that breaks its own format; `reason` completes "is damaged: "."""
    return InvalidMedia(Defect("damaged", f"is damaged: {reason}"))


def layout_of_version(body: memoryview, layouts: VersionedLayout) -> struct.Struct:
    """Choose the layout by a full box's version; raises struct.error if the box is empty."""
    return layouts[VERSION_FIELD.unpack_from(body) == (1,)]


def unpack_versioned(body: memoryview, layouts: VersionedLayout) -> tuple[Any, ...]:
    """Unpack the fields of a full box by its version; raises struct.error if it is too short."""
    return layout_of_version(body, layouts).unpack_from(body)


class BoxBudget:
    """The boxes that may still be walked in one file, so that a hostile one costs no more than a
    real one."""

    def __init__(self) -> None:
        self._remaining = MAX_BOXES

    def spend(self, count: int) -> None:
        """Take `count` boxes off; raises InvalidMedia once MAX_BOXES are spent."""
        self._remaining -= count
        if self._remaining < 0:
            raise damaged(f"it has more than {MAX_BOXES:,} parts")

    def children(self, data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        """Type and content of each box within a box's content. Zeros may follow the last one, as
        QuickTime ends lists so; anything else raises InvalidMedia."""
        at = 0
        while at + BOX_HEADER.size <= len(data):
            self.spend(1)
            size, box_type = BOX_HEADER.unpack_from(data, at)
            header = BOX_HEADER
            if size == 1:
                header = LARGE_BOX_HEADER
                size = LARGE_BOX_HEADER.unpack_from(data, at)[2]
            if not header.size <= size <= len(data) - at:
                break
            yield box_type, data[at + header.size : at + size]
            at += size
        if bytes(data[at:]).strip(b"\0"):
            raise damaged("a box in it does not fit into the one around it")


@dataclass(frozen=True, slots=True)
class Box:
    """An outermost box that is complete."""

    type: bytes  # four letters: b"moov"
    body: bytearray  # what is selected of its content; empty if the box is not selected


@dataclass(slots=True)
class _OpenBox:
    """A box whose header has come."""

    type: bytes  # four letters
    remaining: int | None  # bytes that are to come; None: up to the file's end
    kept: bool = False  # it is selected; any other is skipped
    walked: bool = False  # of its content the selected boxes are kept, not every byte
    start: int = 0  # where its content begins in what is kept of the outermost box


class BoxReader:
    """The outermost boxes of a file that comes in pieces, with what is selected of them.

    `selection` has the types of the outermost boxes to keep under FILE_LEVEL, of those within
    another under that one's type. A kept box whose own type is not there is kept as it is. All else
    is skipped as it comes. Raises InvalidMedia over MAX_BOXES or MAX_KEPT_BYTES.
    """

    def __init__(self, selection: BoxSelection, budget: BoxBudget) -> None:
        self._selection, self._budget = selection, budget
        self._header = bytearray()  # as much as has come of the next box's header
        self._open: list[_OpenBox] = []  # the outermost one first
        self._kept = bytearray()
        self._keepable = MAX_KEPT_BYTES
        self._position = 0
        self.complete_until = 0
        """Where the last complete outermost box ends, in bytes from the file's start."""
        self.declared_end = 0
        """Where the last outermost box ends by its own header, in bytes from the file's start."""
        self.defect: Defect | None = None
        """Why the last header cannot be a box's; all behind it is then skipped. None: it can."""

    @property
    def incomplete_type(self) -> bytes | None:
        """The type of the outermost box that is not complete, or as much of the type as has come;
        None if there is no such box. Zeros behind the last box begin none."""
        if self._open:
            return self._open[0].type
        return bytes(self._header[4:8]) if self._header.strip(b"\0") else None

    def feed(self, data: memoryview) -> Iterator[Box]:
        """Take the file's next bytes; the outermost boxes that are complete with them."""
        while data:
            parent = self._open[-1] if self._open else None
            piece = data if parent is None else data[: parent.remaining]
            if parent is None or parent.walked:
                piece = piece[: self._header_size() - len(self._header)]
            self._advance(len(piece))
            if parent is None or parent.walked:
                self._feed_header(parent, piece)
            elif parent.kept:
                self._keep(piece)
            data = data[len(piece) :]
            yield from self._close_complete()

    def finish(self) -> Iterator[Box]:
        """End the file: the box that ends with it, if there is one."""
        unbounded = len(self._open) == 1 and self._open[0].remaining is None
        if unbounded and not self._header.strip(b"\0"):
            self._open[0].remaining = 0
            yield from self._close_complete()

    def _advance(self, size: int) -> None:
        self._position += size
        for box in self._open:
            if box.remaining is not None:
                box.remaining -= size

    def _header_size(self) -> int:
        large = self._header.startswith(b"\0\0\0\1")
        return LARGE_BOX_HEADER.size if large else BOX_HEADER.size

    def _feed_header(self, parent: _OpenBox | None, piece: memoryview) -> None:
        self._header += piece
        if len(self._header) == self._header_size():
            self._budget.spend(1)
            box_type, remaining = self._parse_header()
            if parent is None:
                self._header.clear()
                self._open.append(self._outermost(box_type, remaining))
            else:
                self._open_child(parent, box_type, remaining)
        elif parent is not None and parent.remaining == 0:
            self._keep_as_it_is(parent)

    def _parse_header(self) -> tuple[bytes, int | None]:
        """The box's type, and how many bytes follow its header. None: up to the file's end; a
        negative number: this is no box."""
        size, box_type = BOX_HEADER.unpack_from(self._header)
        if size == 0:
            return box_type, None
        if size == 1:
            size = LARGE_BOX_HEADER.unpack(self._header)[2]
        return box_type, size - len(self._header)

    def _outermost(self, box_type: bytes, remaining: int | None) -> _OpenBox:
        if remaining is not None and remaining < 0:
            self.defect = damaged("a box is smaller than its own header").defect
            return _OpenBox(box_type, None)
        self.declared_end = self._position + (remaining or 0)
        kept = box_type in self._selection[FILE_LEVEL]
        return _OpenBox(box_type, remaining, kept, kept and box_type in self._selection)

    def _open_child(self, parent: _OpenBox, box_type: bytes, remaining: int | None) -> None:
        outer = parent.remaining
        if remaining is None or remaining < 0 or (outer is not None and remaining > outer):
            self._keep_as_it_is(parent)
            return
        self._header.clear()
        kept = box_type in self._selection[parent.type]
        if kept:
            self._keep(bytes(BOX_HEADER.size))  # filled in once the kept size is known
        walked = kept and box_type in self._selection
        self._open.append(_OpenBox(box_type, remaining, kept, walked, len(self._kept)))

    def _keep_as_it_is(self, parent: _OpenBox) -> None:
        """Keep the rest of a box, which is no box itself: `BoxBudget.children` judges it."""
        parent.walked = False
        self._keep(self._header)
        self._header.clear()

    def _keep(self, piece: memoryview | bytearray | bytes) -> None:
        self._keepable -= len(piece)
        if self._keepable < 0:
            raise damaged(f"its headers take more than {MAX_KEPT_BYTES:,} bytes")
        self._kept += piece

    def _close_complete(self) -> Iterator[Box]:
        while self._open and self._open[-1].remaining == 0:
            box = self._open.pop()
            if self._open and box.kept:
                size = BOX_HEADER.size + len(self._kept) - box.start
                BOX_HEADER.pack_into(self._kept, box.start - BOX_HEADER.size, size, box.type)
            elif not self._open:
                self.complete_until = self._position
                kept, self._kept = self._kept, bytearray()
                yield Box(box.type, kept)
