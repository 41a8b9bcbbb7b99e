"""Installation: whether this database is the one that it was, or a copy, or a restored backup."""

from datetime import timedelta
from typing import Final

NOTED_EVERY: Final = timedelta(seconds=5)  # how often the last moment is noted
STEP_BACK: Final = timedelta(seconds=10)  # that many, and more, are held: a failover loses less
