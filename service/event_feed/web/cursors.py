"""Cursors: positions in an event feed as clients keep them, and send them back in `after` and
Last-Event-ID."""

import re

from service.event_feed.store.feed import Position
from service.kit.errors import Malformed

ACCOUNT_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
SUBJECT_CURSOR = re.compile(r"()(\d{1,7})", re.ASCII)  # the sequence of an event
MAX_SEQUENCE = 1_000_000


def shown(position: Position, *, of_subject: bool) -> str:
    """A position as a cursor of a subject's feed, or of any other feed."""
    return str(position.number) if of_subject else f"{position.xid}-{position.number}"


def read(cursor: str, *, of_subject: bool) -> Position:
    """The position that a cursor stands for; Malformed if no feed of this kind gave it."""
    match = (SUBJECT_CURSOR if of_subject else ACCOUNT_CURSOR).fullmatch(cursor)
    if match is None or (of_subject and int(match[2]) > MAX_SEQUENCE):
        raise Malformed("This cursor was not made by this service.")
    return Position(int(match[1] or 0), int(match[2]))
