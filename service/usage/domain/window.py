"""Windows: the days that usage is read of."""

import re
from collections.abc import Callable
from datetime import date, timedelta

MAX_DAYS = 400
DEFAULT_DAYS = 30
FIRST, LAST = date(2000, 1, 1), date(2999, 12, 31)
PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Window = tuple[date, date]  # the first day, and the one after the last; both in UTC


def read_window(
    first: str | None, end: str | None, today: date, add_error: Callable[[str, str], None]
) -> Window:
    """The window from a day to the one before another, each as YYYY-MM-DD. Without its end it
    reaches to today, and without a beginning it has DEFAULT_DAYS days. Where that is none,
    `add_error` is told `from` or `to` and the rule that it breaks, and what is returned means
    nothing."""
    given_first, given_end = _day(first), _day(end)
    for name, text, day in (("from", first, given_first), ("to", end, given_end)):
        if text is not None and day is None:
            add_error(name, f"must be a day as 2026-01-31, from {FIRST} to {LAST}")
            return today, today
    after = given_end or min(LAST, max(today, given_first or today) + timedelta(days=1))
    begin = given_first or max(FIRST, after - timedelta(days=DEFAULT_DAYS))
    if begin >= after:
        add_error("to", "must be a later day than from")
        return today, today
    if (after - begin).days > MAX_DAYS:
        add_error("from", f"must be at most {MAX_DAYS} days before to")
        return today, today
    return begin, after


def _day(text: str | None) -> date | None:
    """The day that a text names; None for no text, and for one that names none within bounds."""
    if text is None or not PATTERN.fullmatch(text):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if FIRST <= day <= LAST else None
