"""How long tasks typically take, as this process knows it."""

from collections.abc import Mapping

# Seconds by reference type, until something is learnt: rule P37.
DEFAULT_DURATIONS: Mapping[str, float] = {"image_refer": 5.0, "video_refer": 15.0}


class TypicalDurations:
    """One for each process; each claim of subjects and each batch of callbacks updates it from what
    all workers learnt."""

    def __init__(self) -> None:
        self._durations = DEFAULT_DURATIONS

    def update(self, durations: Mapping[str, float] | None) -> None:
        """Take over seconds by reference type; None: nothing was learnt yet."""
        self._durations = {**DEFAULT_DURATIONS, **(durations or {})}

    def typical(self, reference_type: str) -> float:
        """Seconds after which most tasks of this reference type have ended."""
        return self._durations[reference_type]
