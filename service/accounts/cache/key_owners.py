"""The owners of the keys that were used just now, as this process remembers them for a moment."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime

from service.accounts.store.authentication import KeyOwner

# Seconds from before a look-up was sent. Within a second a revoked key must open nothing, in any
# process: no process is told of it, so that this holds even where Postgres or the network hangs.
LIFETIME = 0.5
MAX_KEYS = 10_000  # beyond that all are forgotten, and looked up again


class KeyOwnerCache:
    """Key owners by the digests of their keys; none is given for longer than LIFETIME."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds since some moment, and never goes back."""
        self.clock = clock
        self._owners: dict[bytes, tuple[KeyOwner, float]] = {}  # and when each is forgotten

    def get(self, digest: bytes, now: Callable[[], datetime]) -> KeyOwner | None:
        """The owner of a key that is remembered and has not expired by now; None: look it up."""
        remembered = self._owners.get(digest)
        if remembered is None or self.clock() >= remembered[1]:
            return None
        owner, _ = remembered
        # Most keys do not expire, and then nobody asks for the time.
        return owner if owner.expires_at is None or owner.expires_at > now() else None

    def remember(self, owners: Mapping[bytes, KeyOwner], looked_up_at: float) -> None:
        """Keep what a look-up found that was sent after `looked_up_at`, by `clock`."""
        if len(self._owners) + len(owners) > MAX_KEYS:
            self._owners.clear()
        for digest, owner in owners.items():
            self._owners[digest] = owner, looked_up_at + LIFETIME
