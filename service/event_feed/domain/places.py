"""Places in an event feed, and the rule of when a reader has missed something.

Events are pruned by age, and by how their subjects ended, so a feed is whole only above its
horizon: the last of its events that was pruned. A reader below the horizon is told so once, and
acknowledges it by the place that it is told to go on from. A restored database begins a new epoch
of all feeds: what a reader took in another epoch may have happened otherwise in this one.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a feed: a reader has taken all events up to it."""

    xid: int  # the transaction id of an event in an account's feed; 0 in a subject's feed
    number: int  # events.position in an account's feed; the event's sequence in a subject's feed


START = Position(0, 0)  # before all events


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is, and what it knows of: what a cursor stands for."""

    position: Position
    epoch: int = 0  # in which the reader took the events up to there
    acknowledged: Position = START  # the reader knows that events up to here may be gone


@dataclass(frozen=True, slots=True)
class Horizon:
    """From where on a feed is whole."""

    pruned: Position  # of the last event, in the order of the feed, that was pruned
    epoch: int  # the present one; 0 until a restored database has gone on
    epoch_before: int
    began: Position  # of the last event that both epochs have


def gap(place: Place, horizon: Horizon) -> Place | None:
    """Where a reader has to go on that may miss events without knowing; None if it may not.

    The place is the reader's own, if it stands in this epoch, and acknowledges the horizon. From
    the epoch before, the reader goes back to where the two part; from any other, to the start.
    """
    if place.position == START:
        return None
    if place.epoch == horizon.epoch:
        if max(place.position, place.acknowledged) >= horizon.pruned:
            return None
        return Place(place.position, place.epoch, horizon.pruned)
    shared = horizon.began if place.epoch == horizon.epoch_before else START
    return Place(min(place.position, shared), horizon.epoch, horizon.pruned)


def place_after(last: Position, horizon: Horizon, *, at_end: bool) -> Place:
    """The place of a reader that has taken a page of events, `last` the last of them. At the end
    of the feed (`at_end`) nothing is left of what is below the horizon."""
    position = max(last, horizon.pruned) if at_end else last
    return Place(position, horizon.epoch, horizon.pruned)
