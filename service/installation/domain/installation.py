"""Installation: whether this database is the one that it was, or a copy, or a restored backup.

The row says whose database it is and when it was last alive. A process holds that against its own
PUBLIC_URL, and against the latest moment that it knows to have been written.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from service.kit.timestamps import format_rfc3339

NOTED_EVERY: Final = timedelta(seconds=5)  # how often the last moment is noted
STEP_BACK: Final = timedelta(seconds=10)  # that many, and more, are held: a failover loses less
CENTURY: Final = timedelta(days=36_525)  # a moment further from now nobody has written
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Installation(Struct, frozen=True):
    """The row of the table `installation`, but for what is of the feeds."""

    id: str  # made with the database; a copy that was adopted has a new one
    public_url: str | None  # `home_url` of who is at home; None: no process has started yet
    last_moment: datetime | None  # when it was last alive; None: never
    held_reason: str | None  # why every process is held, a sentence; None: it is not
    held_since: datetime | None  # since when; None: it is not


class Fence(Struct, frozen=True):
    """What must hold of the installation's row, in the statement that claims work, so that this
    process may claim any: `store/fence.py` has the condition."""

    home_url: str | None  # the row's public_url; None: nothing may be claimed yet
    least_moment: datetime | None  # the row's last_moment is no earlier; None: likewise

    def values(self) -> dict[str, str | datetime | None]:
        """The parameters of the condition."""
        return {"home_url": self.home_url, "least_moment": self.least_moment}


CLOSED: Final = Fence(None, None)  # no work may be claimed: this process has not looked yet


class HeldBecause(StrEnum):
    """Why a process is held."""

    ELSEWHERE = "elsewhere"  # its PUBLIC_URL is not that of the database: this process alone
    WENT_BACK = "went_back"  # the database is older than what was seen of it: all processes


class Held(Struct, frozen=True):
    """A process that sends nothing, submits nothing and ends nothing."""

    because: HeldBecause  # which of the reasons
    text: str  # why, and what to do, in words for operators; no secret is in it
    since: datetime | None  # None: since the process has this PUBLIC_URL


def home_url(public_url: str) -> str:
    """A PUBLIC_URL as it is compared: the host in small letters, without the port that goes without
    saying, and without a user's name and password."""
    parts = urlsplit(public_url)
    host, port = parts.hostname or "", parts.port
    host = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def went_back(last_moment: datetime | None, noted: datetime | None) -> bool:
    """Whether a database whose last moment is this is older than it once was: it wrote `noted`
    (None: nothing is known of that). Only what was written is compared, and no clock is read."""
    if noted is None:
        return False
    return last_moment is None or noted - last_moment > STEP_BACK


def held(found: Installation, ours: str, noted: datetime | None) -> Held | None:
    """Whether a process is held whose home URL is `ours`, and that knows `noted` to have been
    written; None: it is not."""
    if found.public_url is not None and found.public_url != ours:
        text = (
            f"This database is that of {found.public_url}, and PUBLIC_URL is {ours}: if it is a "
            "copy, run `callsheet adopt`; if the address has changed, `callsheet resume --moved`."
        )
        return Held(HeldBecause.ELSEWHERE, text, None)
    if found.held_reason is not None:
        return Held(HeldBecause.WENT_BACK, found.held_reason, found.held_since)
    if went_back(found.last_moment, noted):
        return Held(HeldBecause.WENT_BACK, went_back_text(found.last_moment, noted), None)
    return None


def went_back_text(last_moment: datetime | None, noted: datetime | None) -> str:
    """The sentence about a database that is older than it once was."""
    then = format_rfc3339(last_moment) or "before it was first used"
    return (
        f"This database went back in time: its last moment is {then}, and {format_rfc3339(noted)} "
        "was written. Once it is restored as it shall be, run `callsheet resume`."
    )
