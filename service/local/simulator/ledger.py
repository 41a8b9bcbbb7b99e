"""The ledger: every create, look-up, delete and callback attempt, for tests to count."""

import time
from collections import Counter, deque
from typing import Any

MAX_ENTRIES = 100_000  # of each kind, the newest; the counts go on
KINDS = ("creates", "lookups", "deletes", "callbacks")


class Ledger:
    """Entries of each kind, and counts of their outcomes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: dict[str, deque[dict[str, Any]]] = {
            kind: deque(maxlen=MAX_ENTRIES) for kind in KINDS
        }

    def add(self, kind: str, outcome: str, **what: object) -> None:
        """Add an entry, made at this time, and count its outcome."""
        self.counts[f"{kind}_{outcome}"] += 1
        self._kept[kind].append({"at": time.time(), "outcome": outcome, **what})

    def read(self, external_task_id: str | None) -> dict[str, Any]:
        """The entries of all tasks, or of one external id, and the counts of all."""
        kept: dict[str, Any] = {
            kind: [
                entry
                for entry in entries
                if external_task_id in (None, entry.get("external_task_id"))
            ]
            for kind, entries in self._kept.items()
        }
        return {**kept, "counts": dict(self.counts)}
