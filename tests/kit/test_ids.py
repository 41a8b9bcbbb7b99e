"""Ids sort by the time at which they were made."""

from datetime import timedelta

from service.kit import ids
from tests.support.subjects import NOW


def test_ids_sort_by_the_time_of_their_making() -> None:
    later = NOW + timedelta(milliseconds=1)
    assert ids.new_id("sub", NOW, b"\xff" * 10) < ids.new_id("sub", later, b"\0" * 10)
    assert len(ids.new_id("sub", NOW, b"\0" * 10)) == len("sub_") + ids.ID_LENGTH
