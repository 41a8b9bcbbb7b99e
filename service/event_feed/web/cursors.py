"""Cursors: places in an event feed as clients keep them, and send them back in `after` and
Last-Event-ID.

`12-34` is a position of an account's feed, `2` one of a subject's feed. In front stands the epoch,
if it is not the first: `e1790000000.12-34`. Behind stands the horizon that a reader below it
acknowledges: `12-34.56-78`.
"""

import re

from service.event_feed.domain.places import START, Place, Position
from service.kit.errors import CursorExpired, Malformed

EPOCH = r"(?:e(\d{1,12})\.)?"
ACCOUNT_CURSOR = re.compile(EPOCH + r"(\d{1,18})-(\d{1,18})(?:\.(\d{1,18})-(\d{1,18}))?", re.ASCII)
SUBJECT_CURSOR = re.compile(EPOCH + r"()(\d{1,7})()()", re.ASCII)  # the sequence of an event
MAX_SEQUENCE = 1_000_000


def shown(
    position: Position, *, of_subject: bool, epoch: int = 0, acknowledged: Position = START
) -> str:
    """A place as a cursor of a subject's feed, or of any other feed."""
    text = str(position.number) if of_subject else f"{position.xid}-{position.number}"
    if epoch:
        text = f"e{epoch}.{text}"
    if START < position < acknowledged:
        text += f".{acknowledged.xid}-{acknowledged.number}"
    return text


def shown_place(place: Place, *, of_subject: bool) -> str:
    """A place as a cursor: see shown()."""
    return shown(
        place.position, of_subject=of_subject, epoch=place.epoch, acknowledged=place.acknowledged
    )


def read(cursor: str, *, of_subject: bool) -> Place:
    """The place that a cursor stands for; Malformed if no feed of this kind gave it."""
    match = (SUBJECT_CURSOR if of_subject else ACCOUNT_CURSOR).fullmatch(cursor)
    if match is None or (of_subject and int(match[3]) > MAX_SEQUENCE):
        raise Malformed("This cursor was not made by this service.")
    epoch, *numbers = (int(group or 0) for group in match.groups())
    return Place(Position(*numbers[:2]), epoch, Position(*numbers[2:]))


def expired(oldest: Place, *, of_subject: bool) -> CursorExpired:
    """The answer to a cursor behind which events may be missing: go on after `oldest`."""
    return CursorExpired(shown_place(oldest, of_subject=of_subject))
