"""What a drill prints: each step, what was counted, and whether each promise held."""

import time
from dataclasses import dataclass, field


@dataclass
class Report:
    """A drill's lines on standard output, and whether a promise broke."""

    title: str
    broken: list[str] = field(default_factory=list)  # the promises that did not hold
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        print(f"\n{self.title}")

    def step(self, text: str) -> None:
        """Something was done."""
        print(f"  {time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def check(self, promise: str, *, holds: bool, found: object = None) -> None:
        """A promise holds or is broken, by what was found."""
        shown = "" if found is None else f": {found}"
        self.step(f"{'holds ' if holds else 'BROKEN'}  {promise}{shown}")
        if not holds:
            self.broken.append(promise)
