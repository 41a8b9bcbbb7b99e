"""What came in and what went out, kept so that a test can count; the newest of each kind only."""

import time
from collections import Counter, deque
from typing import Any

MAX_ENTRIES = 100_000  # of each kind; the counts go on
KINDS = ("creates", "lookups", "callbacks")


class Ledger:
    """Every create, every look-up and every callback attempt; `at` is Unix seconds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: dict[str, deque[dict[str, Any]]] = {
            kind: deque(maxlen=MAX_ENTRIES) for kind in KINDS
        }

    def add(self, kind: str, outcome: str, **what: object) -> None:
        """Write down one entry of a kind, and count it by its outcome."""
        self.counts[f"{kind}_{outcome}"] += 1
        self._kept[kind].append({"at": time.time(), "outcome": outcome, **what})

    def read(self, external_task_id: str | None) -> dict[str, Any]:
        """All that is kept, or what one external id has to do with, with the counts of all."""
        kept: dict[str, Any] = {
            kind: [
                entry
                for entry in entries
                if external_task_id in (None, entry.get("external_task_id"))
            ]
            for kind, entries in self._kept.items()
        }
        return {**kept, "counts": dict(self.counts)}
