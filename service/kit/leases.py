"""A lease: what a worker has claimed is its own until the lease runs out, unless it is renewed."""

from datetime import datetime

from msgspec import Struct


class Lease(Struct):
    """The lease of a row that a worker has claimed."""

    token: str  # fencing token of this claim: a write under another token changes nothing
    id: str  # of the row
    until: datetime  # the end that is known to be written; only a renewal moves it

    def outlasts(self, moment: datetime) -> bool:
        """Whether nobody else may claim the row before this moment, or at it."""
        return moment < self.until
