"""The rule of when a reader has missed something, and how cursors are written."""

import pytest

from service.event_feed.domain.places import START, Horizon, Place, Position, gap, place_after
from service.event_feed.web import cursors
from service.kit.errors import Malformed

LOW, MIDDLE, HIGH = Position(1, 9), Position(5, 1), Position(5, 2)


def horizon(pruned: Position, epoch: int = 0, before: int = 0, began: Position = START) -> Horizon:
    return Horizon(pruned, epoch, before, began)


@pytest.mark.parametrize(
    ("place", "against", "oldest"),
    [
        (Place(START), horizon(HIGH), None),
        (Place(LOW), horizon(START), None),
        (Place(LOW), horizon(LOW), None),
        (Place(HIGH), horizon(MIDDLE), None),
        (Place(LOW), horizon(MIDDLE), Place(LOW, 0, MIDDLE)),
        (Place(LOW, 0, MIDDLE), horizon(MIDDLE), None),
        (Place(LOW, 0, MIDDLE), horizon(HIGH), Place(LOW, 0, HIGH)),
        (Place(START), horizon(START, 7, 0, LOW), None),
        (Place(HIGH), horizon(START, 7, 0, MIDDLE), Place(MIDDLE, 7)),
        (Place(LOW), horizon(START, 7, 0, MIDDLE), Place(LOW, 7)),
        (Place(LOW), horizon(HIGH, 7, 0, MIDDLE), Place(LOW, 7, HIGH)),
        (Place(LOW, 3), horizon(START, 7, 0, MIDDLE), Place(START, 7)),
        (Place(LOW, 9), horizon(START, 7, 0, MIDDLE), Place(START, 7)),
        (Place(LOW, 7), horizon(START, 7, 0, HIGH), None),
    ],
)
def test_a_reader_goes_on_from_where_it_has_missed_nothing_or_knows(
    place: Place, against: Horizon, oldest: Place | None
) -> None:
    assert gap(place, against) == oldest
    if oldest is not None:
        assert gap(oldest, against) is None, "what it is told to go on from is taken"


def test_at_its_end_a_feed_has_nothing_left_below_its_horizon() -> None:
    assert place_after(LOW, horizon(MIDDLE), at_end=True) == Place(MIDDLE, 0, MIDDLE)
    assert place_after(HIGH, horizon(MIDDLE), at_end=True).position == HIGH
    assert place_after(LOW, horizon(MIDDLE), at_end=False) == Place(LOW, 0, MIDDLE)


@pytest.mark.parametrize(
    ("cursor", "place"),
    [
        ("0-0", Place(START)),
        ("5-2", Place(HIGH)),
        ("1-9.5-2", Place(LOW, 0, HIGH)),
        ("e7.1-9", Place(LOW, 7)),
        ("e7.1-9.5-2", Place(LOW, 7, HIGH)),
    ],
)
def test_a_cursor_of_a_feed_is_read_as_it_was_written(cursor: str, place: Place) -> None:
    assert cursors.read(cursor, of_subject=False) == place
    assert cursors.shown_place(place, of_subject=False) == cursor


def test_a_cursor_of_a_subjects_feed_has_an_epoch_too() -> None:
    for cursor, place in (("3", Place(Position(0, 3))), ("e7.3", Place(Position(0, 3), 7))):
        assert cursors.read(cursor, of_subject=True) == place
        assert cursors.shown_place(place, of_subject=True) == cursor


def test_what_is_not_below_the_horizon_acknowledges_nothing() -> None:
    assert cursors.shown_place(Place(HIGH, 0, HIGH), of_subject=False) == "5-2"
    assert cursors.shown_place(Place(START, 0, HIGH), of_subject=False) == "0-0"


@pytest.mark.parametrize("cursor", ["e.1-1", "e1-1-1", "1-1.", "1-1.1", "e7", "E7.1-1", "e-7.1-1"])
def test_what_no_feed_wrote_is_refused(cursor: str) -> None:
    for of_subject in (False, True):
        with pytest.raises(Malformed):
            cursors.read(cursor, of_subject=of_subject)
