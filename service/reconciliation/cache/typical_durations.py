"""How long tasks usually take, and whether answers can be read, as this process last heard."""

from collections.abc import Mapping
from datetime import datetime

# Seconds by reference type, until something is learnt: rule P37.
DEFAULT_DURATIONS: Mapping[str, float] = {"image_refer": 5.0, "video_refer": 15.0}


class TypicalDurations:
    """One for each process; whoever reads what the workers learnt puts it here."""

    def __init__(self) -> None:
        self._durations = DEFAULT_DURATIONS
        self.readable_until: datetime | None = None  # its answers are believed to be, until then

    def update(self, usual: Mapping[str, float] | None) -> None:
        """Take over seconds by reference type; None: nothing was learnt yet."""
        self._durations = {**DEFAULT_DURATIONS, **(usual or {})}

    def typical(self, reference_type: str) -> float:
        """Seconds after which a task of this type has usually ended."""
        return self._durations[reference_type]
