"""Every process notes every few seconds when the database was last alive: in its row, then in
Redis, in a file and in memory. If one of these is later than the row, the database went back in
time, and everything is held."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog

from service import job_queue
from service.installation.cache import moment_file
from service.installation.domain.installation import (
    CENTURY,
    NOTED_EVERY,
    STEP_BACK,
    Fence,
    Held,
    Installation,
    went_back,
    went_back_text,
)
from service.installation.store import installation as store
from service.kit.errors import Unavailable
from service.metrics import INSTALLATION_HELD
from service.resources import Resources

log = structlog.get_logger()

# A process that has just started, and finds no moment outside of the database, writes none for so
# many looks: first those may look that remember one.
LOOKS_BEFORE_NOTING = STEP_BACK // NOTED_EVERY
RETRY_DELAY = 0.5  # seconds between tries of the first look


async def keep_noting(resources: Resources, opened: Callable[[], None] = lambda: None) -> None:
    """Look at the installation now and every NOTED_EVERY, whatever fails; `opened` is called
    whenever this process is held no more, and once it is known not to be."""
    was_open = False
    while True:
        try:
            await look(resources)
        except Unavailable as error:
            log.warning("installation", action="moment_not_noted", error=error.reason)
        except Exception:
            log.exception("installation", action="fault")
        is_open = resources.home.is_open
        if is_open and not was_open:
            opened()
        was_open = is_open
        # A process that has not looked yet may claim nothing.
        await asyncio.sleep(NOTED_EVERY.total_seconds() if resources.home.looks else RETRY_DELAY)


async def look(resources: Resources) -> None:
    """Hold the installation against all that is known of it; then note that it is alive. One log
    line tells when this process is held, and when it is no more."""
    home, before = resources.home, resources.home.held
    async with resources.database.autocommit() as tx:
        found = await store.read(tx)
    outside = await _noted_outside(resources, found.id)
    home.remember(found.id, outside)
    found = await _hold_or_note(resources, found, has_outside=outside is not None)
    home.see(found)
    _tell(before, home.held)


async def find_out(resources: Resources) -> Held | None:
    """Why a command is held, by all that is known of the installation; None: it is not. Nothing is
    written."""
    async with resources.database.autocommit() as tx:
        found = await store.read(tx)
    resources.home.remember(found.id, await _noted_outside(resources, found.id))
    return resources.home.held_by(found)


async def _hold_or_note(
    resources: Resources, found: Installation, *, has_outside: bool
) -> Installation:
    """Hold everything if the database went back in time; else note its moment, if it is this
    process' to do so. The installation as it stands then."""
    home, now = resources.home, resources.clock()
    if found.public_url not in {None, home.url} or found.held_reason is not None:
        return found
    noted = home.noted(found.id)
    if went_back(found.last_moment, noted):
        reason = went_back_text(found.last_moment, noted)
        async with resources.database.autocommit() as tx:
            return await store.hold(tx, found.id, reason, now)
    if found.last_moment and not has_outside and home.looks < LOOKS_BEFORE_NOTING:
        return found
    fence = Fence(home.url, noted and noted - STEP_BACK)
    async with resources.database.autocommit() as tx:
        after = await store.note(tx, found.id, fence, now)
    if after.id == found.id and after.last_moment is not None and after.held_reason is None:
        await _note_outside(resources, after.id, after.last_moment)
    return after


async def _noted_outside(resources: Resources, installation_id: str) -> datetime | None:
    """The latest moment that Redis or the file has of this installation; None if none has. What
    cannot be read, or was never written, is passed over."""
    settings, found = resources.settings, list[datetime | None]()
    if settings.redis_url is not None:
        try:
            found.append(await job_queue.read_moment(settings.redis_url, installation_id))
        except job_queue.REDIS_ERRORS as error:
            log.debug("installation", action="moment_not_read", error=repr(error))
    if settings.moment_file is not None:
        path = Path(settings.moment_file)
        try:
            found.append(await asyncio.to_thread(moment_file.read_moment, path, installation_id))
        except OSError as error:
            log.warning("installation", action="moment_not_read", error=error.strerror)
    now = resources.clock()
    return max((at for at in found if at and abs(at - now) < CENTURY), default=None)


async def _note_outside(resources: Resources, installation_id: str, moment: datetime) -> None:
    """Note a moment in Redis and in the file, once it is durable in the database."""
    settings = resources.settings
    if settings.redis_url is not None:
        try:
            await job_queue.write_moment(settings.redis_url, installation_id, moment)
        except job_queue.REDIS_ERRORS as error:
            log.debug("installation", action="moment_not_noted", error=repr(error))
    if settings.moment_file is not None:
        path = Path(settings.moment_file)
        try:
            await asyncio.to_thread(moment_file.write_moment, path, installation_id, moment)
        except OSError as error:
            log.warning("installation", action="moment_not_noted", error=error.strerror)


def _tell(before: Held | None, after: Held | None) -> None:
    """Say once that this process is held, and why; and once that it is no more."""
    INSTALLATION_HELD.set(after is not None)
    if after is not None and (before is None or before.because is not after.because):
        log.warning(
            "installation", action="installation_held", because=after.because, reason=after.text
        )
    elif after is None and before is not None:
        log.info("installation", action="installation_released")
