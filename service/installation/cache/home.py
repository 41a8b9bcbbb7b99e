"""What this process knows of the installation: its own URL, and the latest moment that it knows to
have been written. Claims take their fence from here, without a round trip."""

import asyncio
from datetime import datetime

from service.installation.domain.installation import (
    CLOSED,
    STEP_BACK,
    Fence,
    Held,
    Installation,
    held,
    home_url,
)


class Home:
    """One for each process. Until it is told of the installation, its fence is closed."""

    def __init__(self, public_url: str) -> None:
        self.url = home_url(public_url)
        self.fence = CLOSED  # for the claims of this process
        self.held: Held | None = None  # why this process is held, as of the last look
        self.looks = 0  # how often it was told of the installation
        self._id: str | None = None  # of the installation that `_noted` is of
        self._noted: datetime | None = None  # the latest moment known; None: none is
        self._open, self._shut = asyncio.Event(), asyncio.Event()
        self._shut.set()

    def noted(self, installation_id: str) -> datetime | None:
        """The latest moment that this installation is known to have written; None: none is."""
        return self._noted if self._id == installation_id else None

    def remember(self, installation_id: str, moment: datetime | None) -> None:
        """Remember a moment that this installation has written. What is known of another is
        forgotten."""
        if self._id != installation_id:
            self._id, self._noted = installation_id, None
        if moment is not None:
            self._noted = max(moment, self._noted or moment)

    def held_by(self, found: Installation) -> Held | None:
        """Why this process is held where the installation stands so; None: it is not."""
        return held(found, self.url, self.noted(found.id))

    def see(self, found: Installation) -> None:
        """Take the installation as it stands, after what is remembered of it."""
        self.looks += 1
        self.held = self.held_by(found)
        self.remember(found.id, None if self.held else found.last_moment)
        noted = self.noted(found.id)
        self.fence = Fence(self.url, noted and noted - STEP_BACK)
        open_now = self.held is None and noted is not None
        now_so, not_so = (self._open, self._shut) if open_now else (self._shut, self._open)
        now_so.set()
        not_so.clear()

    @property
    def is_open(self) -> bool:
        """Whether this process was at home when it looked last, and not held."""
        return self._open.is_set()

    async def until_open(self) -> None:
        """Wait until this process is not held."""
        await self._open.wait()

    async def until_shut(self) -> None:
        """Wait until this process is held."""
        await self._shut.wait()
