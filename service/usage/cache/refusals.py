"""Requests that were refused with 422, counted in memory: nothing else is left of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock

from service.subjects.domain.reference_types import IMAGE, VIDEO
from service.usage.store.usage import Refusals


class RefusalCounter:
    """Counts that wait to be stored. Only requests of known accounts are counted, so there are no
    more than a few entries an account. Large bodies are counted from a thread of theirs."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: Refusals = {}

    def count(self, account_id: str, body: object, now: datetime) -> None:
        """Count a request of this account, which was refused at this time, by the reference type
        that its body names."""
        named = body.get("reference_type") if isinstance(body, Mapping) else None
        kind = named if isinstance(named, str) and named in (VIDEO, IMAGE) else ""
        self.add({(now.astimezone(UTC).date(), account_id, kind): 1})

    def add(self, refusals: Refusals) -> None:
        """Add these counts to what waits."""
        with self._lock:
            for key, count in refusals.items():
                self._waiting[key] = self._waiting.get(key, 0) + count

    def take(self) -> Refusals:
        """All that waits, which then does not wait any more."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
            return taken
