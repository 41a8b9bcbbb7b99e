"""The condition under which work may be claimed, in the statement that claims it: so between a
restore and the next look at the installation nothing slips through."""

from typing import Final

# Its parameters are Fence.values(). It names no column of the statement around it, so Postgres
# reads the row once, before all else; and where it does not hold, nothing else is read.
AT_HOME: Final = """EXISTS (
    SELECT FROM installation WHERE id = 1 AND held_reason IS NULL
    AND public_url = CAST(:home_url AS text)
    AND last_moment >= CAST(:least_moment AS timestamptz)
)"""
