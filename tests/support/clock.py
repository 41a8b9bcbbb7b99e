"""A clock that a test moves."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.wiring import utc_now


@dataclass
class Clock:
    """Stands still until a test moves it; begins at the real time, as the simulator signs
    callbacks with that."""

    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
