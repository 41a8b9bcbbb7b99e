"""A real Postgres and a real Valkey for the session; a database of its own for each test."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.wiring import utc_now


@dataclass
class Clock:
    """Time that moves only when told to, from the test's beginning: what the provider's stand-in
    signs bears the real time."""

    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
