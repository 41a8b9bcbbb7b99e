"""What a bulk operation is about: the items of its filter, read in an order that it keeps to."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import Struct

Filter = Mapping[str, str]  # as it was asked for, checked; times in RFC 3339
# Where the next items begin, as JSON; None: at the first. Each kind of operation has its own.
Position = Mapping[str, Any]

SCANNED = 5000  # rows that one chunk is sought among
NOTHING: Mapping[str, int] = MappingProxyType({})


class Item(Struct, frozen=True):
    """One of those that an operation is about."""

    id: str  # of the delivery, the event or the subject
    word: str  # its state; `missing`: an event that was never sent to the subscriber
    subject_id: str | None  # its subject, or the delivery's ordering key; None: an event without
    event_id: str | None = None  # of a delivery
    subscriber_id: str | None = None  # of a delivery


class Chunk(Struct, frozen=True):
    """The next of the items of an operation."""

    items: Sequence[Item]  # in their order
    rest: Position | None  # where those after them begin; None: there are no others
    cannot: Mapping[str, int] = NOTHING  # how many between them it cannot be done to, by reason
