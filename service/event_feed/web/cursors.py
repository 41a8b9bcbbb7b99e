"""Cursors: places in a feed, as readers keep them and send them back."""

import re

from service.event_feed.store.feed import Position
from service.kit.errors import Malformed

OF_FEED = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
OF_SUBJECT = re.compile(r"()(\d{1,7})", re.ASCII)  # the sequence of an event
SEQUENCE_MAX = 1_000_000


def shown(place: Position, *, of_subject: bool) -> str:
    return str(place.position) if of_subject else f"{place.xid}-{place.position}"


def read(cursor: str, *, of_subject: bool) -> Position:
    """Malformed if it is none of ours."""
    match = (OF_SUBJECT if of_subject else OF_FEED).fullmatch(cursor)
    if match is None or (of_subject and int(match[2]) > SEQUENCE_MAX):
        raise Malformed("this cursor is not one of ours")
    return Position(int(match[1] or 0), int(match[2]))
