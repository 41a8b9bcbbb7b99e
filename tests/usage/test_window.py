"""Windows of usage: days as they are given, or the last thirty; never more than can be read."""

from datetime import date

import pytest

from service.usage.domain.window import read_window

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("first", "end", "field"),
    [
        ("2026-11-31", None, "from"),
        ("2026-1-01", None, "from"),
        ("2026-11-01T00:00:00Z", None, "from"),
        ("", None, "from"),
        ("20261101", None, "from"),
        ("1999-12-31", None, "from"),
        (None, "3000-01-01", "to"),
        (None, "\N{ARABIC-INDIC DIGIT TWO}026-11-01", "to"),
        ("2026-11-01", "2026-11-01", "to"),
        ("2025-01-01", "2026-02-06", "from"),
    ],
)
def test_a_window_that_is_none_is_refused_by_the_name_of_its_field(
    first: str | None, end: str | None, field: str
) -> None:
    errors: list[str] = []
    read_window(first, end, TODAY, lambda name, _rule: errors.append(name))
    assert errors == [field]


@pytest.mark.parametrize(
    ("first", "end", "window"),
    [
        (None, None, ("2026-10-24", "2026-11-23")),
        ("2026-11-20", None, ("2026-11-20", "2026-11-23")),
        ("2026-12-01", None, ("2026-12-01", "2026-12-02")),
        (None, "2026-03-01", ("2026-01-30", "2026-03-01")),
        ("2025-01-01", "2026-02-05", ("2025-01-01", "2026-02-05")),
        (None, "2000-01-02", ("2000-01-01", "2000-01-02")),
        ("2999-12-30", None, ("2999-12-30", "2999-12-31")),
    ],
)
def test_a_window_reaches_to_today_and_has_thirty_days_unless_it_is_given(
    first: str | None, end: str | None, window: tuple[str, str]
) -> None:
    errors: list[str] = []
    found = read_window(first, end, TODAY, lambda name, _rule: errors.append(name))
    assert ([day.isoformat() for day in found], errors) == ([*window], [])
