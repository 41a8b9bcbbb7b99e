"""Lists with filters that no index has: so many rows are looked through, and then the page ends."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.database.connection import Row

MAX_ROWS_SCANNED = 10_000  # rows looked through for one page

ListPosition = tuple[datetime, str]  # where a row stands in a list: its created_at and its id
Rows = Sequence[Row]


def page_of(rows: Rows, limit: int, most: int) -> tuple[Rows, Row | None]:
    """The rows of a page, `limit` at most, and the row that the next page begins behind; None at
    the end.

    `rows` are `limit` + 1 of those that fit, and the last of `most` that were looked through: each
    says in `read` the how many-th it was, from 1, and in `fits` whether it is wanted.
    """
    fit = [row for row in rows if row["fits"]][:limit]
    if len(rows) > limit and fit:
        return fit, fit[-1]
    return fit, rows[-1] if rows and rows[-1]["read"] == most else None
