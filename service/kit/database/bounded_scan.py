"""Pages of a list whose filter no index serves: a bounded number of rows is scanned for each."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.database.connection import Row

MAX_ROWS_SCANNED = 10_000  # for one page

ListPosition = tuple[datetime, str]  # where a row stands in a list: its created_at and its id
Rows = Sequence[Row]


def page_of(rows: Rows, limit: int, max_scanned: int) -> tuple[Rows, Row | None]:
    """The rows of a page, `limit` at most, and the row behind which the next page begins; None for
    that at the end of the list.

    `rows` are the first `limit` + 1 that match, and the last of the `max_scanned` that were
    scanned: `read` is the number of a row in the scan, from 1, `fits` whether it matches.
    """
    fit = [row for row in rows if row["fits"]][:limit]
    if len(rows) > limit and fit:
        return fit, fit[-1]
    return fit, rows[-1] if rows and rows[-1]["read"] == max_scanned else None
