"""Leases: what a worker has claimed is its own until its lease runs out."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)
class Lease:
    """A row that a worker has claimed."""

    token: str
    """Under which it was claimed: a write under another token changes nothing."""
    id: str
    until: datetime
    """The end that is known to be written of it; only a renewal moves it."""

    def outlasts(self, moment: datetime) -> bool:
        """Whether nobody else may take the row up before this moment, or at it."""
        return moment < self.until
