"""Looking at media given by URL, before a place with the provider is claimed: fetch, judge, record.

Nothing is kept of them. What is bad ends the subject, and the provider never hears of it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from service.job_queue import Work
from service.kit.backoff import SPREAD, jittered
from service.kit.errors import FieldError, Unavailable
from service.kit.leases import Lease
from service.media.domain.references import (
    MediaDefect,
    MediaReference,
    compare_images,
    media_error,
    media_references,
)
from service.media.steps.fetch_and_inspect import fetch_and_inspect
from service.media.store import media_checks
from service.media.store.media_checks import DueMediaCheck, MediaClaimLimits
from service.resources import Resources, end_of_lease
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import TransitionGuard, transition

log = structlog.get_logger()

RETRY_DELAYS = (1.0, 5.0, 25.0)  # seconds from a try that did not reach them to the next; ours


@dataclass(frozen=True, slots=True)
class ClaimedMediaCheck:
    """A subject whose media are to be looked at, the lease it is recorded under, and since when it
    is held."""

    due: DueMediaCheck
    lease: Lease
    at: datetime


class MediaChecker:
    """Claims looks for one worker, and makes them.

    An account that has work under way here leaves as many places free as it takes up: alone it
    holds half of them, and with others less, however slow its media are.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._under_way: Counter[str] = Counter()

    async def claim(self, free: int) -> Sequence[ClaimedMediaCheck]:
        """Subjects whose media are due, at most half as many as there are free places."""
        resources = self._resources
        now, token = resources.clock(), resources.new_id("lse")
        until = end_of_lease(resources, now)
        held = dict(self._under_way)
        rooms = {account: max(0, (free - used) // 2) for account, used in held.items()}
        terms = MediaClaimLimits(token, max(1, free // 2), held, rooms)
        async with resources.database.autocommit() as tx:
            claimed = await media_checks.claim(tx, terms, now=now, until=until)
        for due in claimed:
            self._under_way[due.account_id] += 1
        return [ClaimedMediaCheck(due, Lease(token, due.id, until), now) for due in claimed]

    async def look(self, claimed: ClaimedMediaCheck) -> None:
        """Look at the media of one subject, and record what came of it."""
        account = claimed.due.account_id
        try:
            await _check(self._resources, claimed)
        finally:
            self._under_way[account] -= 1
            if not self._under_way[account]:
                del self._under_way[account]


async def _check(resources: Resources, claimed: ClaimedMediaCheck) -> None:
    look = _MediaCheck(resources, claimed)
    try:
        recorded = await look.made()
    except asyncio.CancelledError:  # the worker ends: the next one need not wait for the lease
        with suppress(Unavailable):
            await look.given_back(resources.clock(), tried=False)
        raise
    log.info(
        "look",
        action="media_looked_at",
        subject=claimed.due.id,
        account=claimed.due.account_id,
        outcome=recorded,
        tries=claimed.due.tries,
        fetched=look.fetched,
        bytes=look.size,
        found=[f"{one.field}: {one.flaw.code}" for one in look.found],
        seconds=(resources.clock() - claimed.at).total_seconds(),
    )


@dataclass(slots=True)
class _MediaCheck:
    """One look at one subject's media, and what it has shown so far; `images` are those of which
    the content is known, with its SHA-256."""

    resources: Resources
    claimed: ClaimedMediaCheck
    found: list[MediaDefect] = field(default_factory=list)
    fetched: int = 0
    size: int = 0
    images: list[tuple[MediaReference, str]] = field(default_factory=list)

    async def made(self) -> str:
        """Look at all of them, and record it: good, bad, later, or late if it was ours no more."""
        for medium in media_references(self.claimed.due.document):
            if medium.content:
                self.images.append((medium, medium.content))
            elif medium.url:
                if not await self._held():
                    return "late"
                await self._see(medium, medium.url)
        return await self._recorded()

    async def _see(self, medium: MediaReference, url: str) -> None:
        seen = await fetch_and_inspect(self.resources, medium.kind, url)
        self.fetched += 1
        self.size += seen.size
        if seen.flaw:
            self.found.append(MediaDefect(medium.field, seen.flaw, seen.passing))
        elif seen.content:
            self.images.append((medium, seen.content))

    async def _recorded(self) -> str:
        resources, due = self.resources, self.claimed.due
        alike, warnings = compare_images(self.images)
        self.found += alike
        if not self.found:
            return await self._good(warnings)
        passing = all(one.passing for one in self.found)
        if passing and due.tries < len(RETRY_DELAYS):
            wait = jittered(RETRY_DELAYS[due.tries], SPREAD, resources.random())
            at = resources.clock() + timedelta(seconds=wait)
            return "later" if await self.given_back(at, tried=True) else "late"
        news = StatusUpdate(Signal.REFUSED, error=media_error(self.found))
        outcome = await transition(
            resources, due.id, news, TransitionGuard(media_token=self.claimed.lease.token)
        )
        return "bad" if outcome is not None and outcome.ignored is None else "late"

    async def _good(self, warnings: Sequence[FieldError]) -> str:
        due, token = self.claimed.due, self.claimed.lease.token
        async with self.resources.database.autocommit() as tx:
            ours = await media_checks.complete(tx, due.id, token, warnings)
        if not ours:
            return "late"
        self.resources.worker_notifier.wake(Work.SUBMIT)
        return "good"

    async def _held(self) -> bool:
        """Whether it is still ours to fetch for. The first medium is fetched by what is known since
        the claim; before each other one, the subject is read: it may have been canceled."""
        lease = self.claimed.lease
        if self.fetched:
            async with self.resources.database.autocommit() as tx:
                if not await media_checks.holds_lease(tx, lease.id, lease.token):
                    return False
        return lease.outlasts(self.resources.clock())

    async def given_back(self, at: datetime, *, tried: bool) -> bool:
        """Let go of it until then; False if it was ours no more."""
        lease = self.claimed.lease
        async with self.resources.database.autocommit() as tx:
            return await media_checks.release(tx, lease.id, lease.token, at, tried=tried)
