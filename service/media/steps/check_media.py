"""Checking the media given by URL before a subject is submitted: fetch, inspect, record.

Bad media end the subject, and the provider never hears of it; media out of reach are tried again
with backoff (rule P99 of service/provider/README.md). A check is claimed under a lease.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from service.kit import tracing
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
from service.metrics import LEASES_EXPIRED
from service.resources import Resources, end_of_lease
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.signal_record import SignalDetails, SignalRecord
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps import tracing as subject_tracing
from service.subjects.steps.transition import TransitionGuard, transition

log = structlog.get_logger()

RETRY_DELAYS = (1.0, 5.0, 25.0)  # seconds after each check that found media out of reach; rule P99


@dataclass(frozen=True, slots=True)
class ClaimedMediaCheck:
    """A subject whose media one worker is to check."""

    subject: DueMediaCheck  # as it was when it was claimed
    lease: Lease  # its outcome is recorded under this lease
    claimed_at: datetime  # for the log: how long the check takes


class MediaChecker:
    """Claims media checks for one worker, and makes them.

    An account that has checks under way leaves as many places free as it takes up: alone it holds
    half of them, and with others less, however slow its media are.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._under_way: Counter[str] = Counter()  # checks by account

    async def claim(self, free: int) -> Sequence[ClaimedMediaCheck]:
        """Claim checks that are due, at most half as many as this worker has `free` places."""
        resources = self._resources
        now, token = resources.clock(), resources.new_id("lse")
        until = end_of_lease(resources, now)
        under_way = dict(self._under_way)
        limits = MediaClaimLimits(
            max_claims=max(1, free // 2),
            under_way=under_way,
            capacities={account: max(0, (free - n) // 2) for account, n in under_way.items()},
        )
        async with resources.database.autocommit() as tx:
            subjects = await media_checks.claim(
                tx, resources.home.fence, limits, token=token, now=now, until=until
            )
        LEASES_EXPIRED.inc(sum(subject.lease_expired for subject in subjects))
        self._under_way.update(subject.account_id for subject in subjects)
        return [
            ClaimedMediaCheck(subject, Lease(token, subject.id, until), now) for subject in subjects
        ]

    async def check(self, claimed: ClaimedMediaCheck) -> None:
        """Check the media of one subject, and record the outcome."""
        account = claimed.subject.account_id
        try:
            await _check(self._resources, claimed)
        finally:
            self._under_way[account] -= 1
            if not self._under_way[account]:
                del self._under_way[account]


async def _check(resources: Resources, claimed: ClaimedMediaCheck) -> None:
    check = _MediaCheck(resources, claimed)
    try:
        with tracing.span("check media") as span:
            outcome = await check.run()
            span.set(outcome=outcome)
            await subject_tracing.link(resources, span, claimed.subject.id)
    except asyncio.CancelledError:  # the worker ends: the next one need not wait for the lease
        with suppress(Unavailable):
            await check.release(resources.clock(), counts=False)
        raise
    log.info(
        "media",
        action="media_checked",
        subject=claimed.subject.id,
        account=claimed.subject.account_id,
        outcome=outcome,
        attempts=claimed.subject.attempts,
        fetched=check.fetched,
        bytes=check.size,
        found=[f"{media.field}: {media.defect.code}" for media in check.defects],
        seconds=(resources.clock() - claimed.claimed_at).total_seconds(),
    )


@dataclass(slots=True)
class _MediaCheck:
    """One check of one subject's media, as far as it has come."""

    resources: Resources  # of the worker
    claimed: ClaimedMediaCheck  # what is checked, under which lease
    defects: list[MediaDefect] = field(default_factory=list)  # found so far
    fetched: int = 0  # how many URLs
    size: int = 0  # bytes read of them all
    images: list[tuple[MediaReference, str]] = field(default_factory=list)  # with content's SHA-256

    async def run(self) -> str:
        """Check all media and record the outcome, which is returned for the log: `passed`,
        `refused`, `deferred` (to be tried again), or `lease_lost` (nothing is recorded)."""
        for media in media_references(self.claimed.subject.document):
            if media.content_hash:
                self.images.append((media, media.content_hash))
            elif media.url:
                if not await self._holds_lease():
                    return "lease_lost"
                await self._inspect(media, media.url)
        return await self._record()

    async def _inspect(self, media: MediaReference, url: str) -> None:
        inspection = await fetch_and_inspect(self.resources, media.kind, url)
        self.fetched += 1
        self.size += inspection.size
        if inspection.defect:
            self.defects.append(MediaDefect(media.field, inspection.defect))
        elif inspection.content_hash:
            self.images.append((media, inspection.content_hash))

    async def _record(self) -> str:
        resources, subject = self.resources, self.claimed.subject
        duplicates, warnings = compare_images(self.images)
        self.defects += duplicates
        if not self.defects:
            return await self._complete(warnings)
        transient = all(media.defect.transient for media in self.defects)
        if transient and subject.attempts < len(RETRY_DELAYS):
            wait = jittered(RETRY_DELAYS[subject.attempts], SPREAD, resources.random())
            due_at = resources.clock() + timedelta(seconds=wait)
            return "deferred" if await self.release(due_at, counts=True) else "lease_lost"
        refused = StatusUpdate(
            Signal.REFUSED,
            error=media_error(self.defects),
            details=self._details(self.defects[0].defect.code),
        )
        guard = TransitionGuard(media_token=self.claimed.lease.token)
        result = await transition(resources, subject.id, refused, guard, SignalSource.MEDIA_CHECK)
        return "refused" if result is not None and result.ignored is None else "lease_lost"

    def _details(self, outcome: str) -> SignalDetails:
        return SignalDetails(outcome=outcome, sent_at=self.claimed.claimed_at)

    def _record_of(self, outcome: str) -> SignalRecord:
        """What is kept of a check that moves nothing."""
        return SignalRecord(
            source=SignalSource.MEDIA_CHECK,
            at=self.resources.clock(),
            details=self._details(outcome),
        )

    async def _complete(self, warnings: Sequence[FieldError]) -> str:
        lease = self.claimed.lease
        async with self.resources.database.autocommit() as tx:
            completed = await media_checks.complete(
                tx, lease.id, lease.token, warnings, self._record_of("passed")
            )
        return "passed" if completed else "lease_lost"

    async def _holds_lease(self) -> bool:
        """Whether the check may go on. The first URL is fetched by what is known since the claim;
        before each other one the subject is read, as it may have been canceled."""
        lease = self.claimed.lease
        if self.fetched:
            async with self.resources.database.autocommit() as tx:
                if not await media_checks.holds_lease(tx, lease.id, lease.token):
                    return False
        return lease.outlasts(self.resources.clock())

    async def release(self, due_at: datetime, *, counts: bool) -> bool:
        """Give the check back, to be claimed from `due_at` on; `counts` says whether it was an
        attempt. False: the lease was lost, nothing is written."""
        lease = self.claimed.lease
        record = self._record_of(self.defects[0].defect.code) if counts else None
        async with self.resources.database.autocommit() as tx:
            return await media_checks.release(
                tx, lease.id, lease.token, due_at, counts=counts, record=record
            )
