"""One transaction of intake: what becomes of requests that keep every rule and came together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from service.core.errors import CallsheetError, Conflict, Finding, TooMany
from service.core.events import event_of
from service.core.lifecycle import State
from service.core.looks import by_url
from service.core.rules import Request
from service.core.subjects import Subject
from service.queue import Work
from service.steps import callback_urls
from service.steps.resources import Resources
from service.store import entries, events, idempotency, media, subjects
from service.store.database import Direct
from service.store.events import New
from service.store.idempotency import Bound, Named

KEY_LIFE = timedelta(hours=24)  # design, section 5, "Create"
FULL_FOR = 5.0  # seconds that a caller waits whose queue is full; ours
BY_KEY = ("Idempotency-Key", "idempotency_key_reused")
BY_NAME = ("external_task_id", "external_task_id_taken")


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that keeps every rule, and whose it is. `key` is its idempotency key; `seconds` is
    how long it may take, None as long as any. Where it must be `new`, an external_task_id that the
    account has used is refused, also if it was for the same request."""

    account_id: str
    request: Request
    key: str | None = None
    seconds: float | None = None
    new: bool = False

    @property
    def named(self) -> Named | None:
        return None if self.key is None else (self.account_id, self.key)

    @property
    def weight(self) -> int:
        """Bytes of its media."""
        return sum(map(len, self.request.inline.values()))


@dataclass(frozen=True, slots=True)
class Accepted:
    """`created` is False where the same request had been accepted before."""

    subject: Subject
    created: bool
    warnings: tuple[Finding, ...]


Outcome = Accepted | CallsheetError


class Entry:
    """One transaction's worth: wishes of different keys, and what becomes of each."""

    def __init__(self, resources: Resources, wishes: Sequence[Wish]) -> None:
        self._resources = resources
        self._now = resources.clock()
        self._wishes = wishes
        self._new = [_new(resources, wish, self._now) for wish in wishes]
        self._outcomes: dict[int, Outcome] = {}
        self._deliveries = 0

    async def made(self) -> list[Outcome]:
        """Commit it, and wake whom it concerns."""
        async with self._resources.database.direct() as tx:
            free = await self._by_key(tx)
            await self._by_name(tx, self._open())
            await self._refuse_beyond_room(tx)
            await self._find_lanes(tx)
            added = await self._add(tx)
            await self._bind(tx, free)
        for at in added:
            self._outcomes[at] = self._accepted(at, None)
        self._wake(added)
        return [self._outcomes[at] for at in range(len(self._wishes))]

    def _open(self) -> list[int]:
        return [at for at in range(len(self._wishes)) if at not in self._outcomes]

    async def _by_key(self, tx: Direct) -> list[int]:
        """Answer those whose key is bound; the places of those whose key is free."""
        keyed = {named: at for at, wish in enumerate(self._wishes) if (named := wish.named)}
        if not keyed:
            return []
        names = list(keyed)
        await idempotency.lock(tx, names)
        bound = await idempotency.bound(tx, names, self._now - KEY_LIFE)
        earlier = await subjects.all_of(tx, [one.subject_id for one in bound.values()])
        for named, one in bound.items():
            at = keyed[named]
            known = earlier[one.subject_id]
            clash = _clash(one.fingerprint, self._wishes[at], *BY_KEY)
            self._outcomes[at] = clash or self._accepted(at, known)
        return [at for named, at in keyed.items() if named not in bound]

    async def _by_name(self, tx: Direct, places: Sequence[int]) -> None:
        """Answer those whose external id the account has already."""
        names = {at: name for at in places if (name := _name(self._wishes[at]))}
        found = await subjects.named(tx, list(names.values())) if names else {}
        for at, name in names.items():
            if known := found.get(name):
                clash = _taken(known, self._wishes[at])
                self._outcomes[at] = clash or self._accepted(at, known)

    async def _refuse_beyond_room(self, tx: Direct) -> None:
        wanted: defaultdict[str, list[int]] = defaultdict(list)
        for at in self._open():
            wanted[self._wishes[at].account_id].append(at)
        queues = self._resources.queues
        for account_id, room in (await queues.room(tx, wanted, self._now)).items():
            for at in wanted[account_id][max(0, room) :]:
                message = f"{queues.most} subjects of this account are queued already"
                self._outcomes[at] = TooMany(message, "queue_full", FULL_FOR)

    async def _find_lanes(self, tx: Direct) -> None:
        """Each callback_url of what is new has one, for all of its origin."""
        urls = {at: url for at in self._open() if (url := self._wishes[at].request.callback_url)}
        wanted = sorted({(self._wishes[at].account_id, url) for at, url in urls.items()})
        lanes = {one: await callback_urls.lane(tx, self._resources, *one) for one in wanted}
        for at, url in urls.items():
            lane = lanes[self._wishes[at].account_id, url]
            self._new[at] = replace(self._new[at], callback_id=lane)

    async def _add(self, tx: Direct) -> list[int]:
        """Write what is new, with its media, events and deliveries; its places. What an equal
        request wrote in the meantime is answered with that."""
        places = self._open()
        if not places:
            return []
        new = [self._new[at] for at in places]
        to_look_at = {
            self._new[at].id for at in places if by_url(self._wishes[at].request.document)
        }
        ids = await entries.add(tx, new, to_look_at)
        added = [at for at in places if self._new[at].id in ids]
        if len(added) < len(places):
            await self._by_name(tx, self._left(places, added))
        await self._keep_media(tx, added)
        if added:
            told = [New(event_of(self._new[at]), self._resources.new_id("dlv")) for at in added]
            self._deliveries = await events.append(tx, told)
        return added

    def _left(self, places: Sequence[int], added: Sequence[int]) -> list[int]:
        written = set(added)
        return [at for at in places if at not in written]

    async def _keep_media(self, tx: Direct, added: Sequence[int]) -> None:
        inline: dict[str, bytes] = {}
        for at in added:
            inline |= self._wishes[at].request.inline
        if inline:
            await media.keep(tx, inline, self._now)
            needed = [(self._new[at].id, one) for at in added for one in self._hashes(at)]
            await media.need(tx, needed)

    def _hashes(self, at: int) -> Iterator[str]:
        return iter(self._wishes[at].request.inline)

    async def _bind(self, tx: Direct, free: Sequence[int]) -> None:
        """Bind free keys to what their requests made or found; a refused request binds none."""
        given = []
        for at in free:
            outcome = self._outcomes.get(at)
            named = self._wishes[at].named
            if named is None or isinstance(outcome, CallsheetError):
                continue
            subject = self._new[at] if outcome is None else outcome.subject
            given.append((named, Bound(subject.fingerprint, subject.id)))
        if given:
            await idempotency.bind(tx, given, self._now)

    def _accepted(self, at: int, earlier: Subject | None) -> Accepted:
        subject = earlier or self._new[at]
        return Accepted(subject, earlier is None, self._wishes[at].request.warnings)

    def _wake(self, added: Sequence[int]) -> None:
        for at in added:
            work = Work.LOOK if by_url(self._new[at].document) else Work.SUBMIT
            self._resources.queue.wake(work, self._new[at].id)
        if self._deliveries:
            self._resources.queue.wake(Work.DELIVER, self._new[added[0]].id)


def _name(wish: Wish) -> tuple[str, str] | None:
    external = wish.request.external_task_id
    return None if external is None else (wish.account_id, external)


def _taken(known: Subject, wish: Wish) -> Conflict | None:
    if wish.new:
        return Conflict(f"external_task_id {known.external_task_id} already exists", BY_NAME[1])
    return _clash(known.fingerprint, wish, *BY_NAME)


def _clash(fingerprint: str, wish: Wish, what: str, code: str) -> Conflict | None:
    if fingerprint == wish.request.fingerprint:
        return None
    return Conflict(f"this {what} was used before, with another request", code)


def _new(resources: Resources, wish: Wish, now: datetime) -> Subject:
    longest = resources.settings.task_deadline
    return Subject(
        id=resources.new_id("sub"),
        account_id=wish.account_id,
        external_task_id=wish.request.external_task_id,
        fingerprint=wish.request.fingerprint,
        document=wish.request.document,
        state=State.QUEUED,
        version=1,
        provider_task_id=None,
        provider_updated_at=None,
        result=None,
        error=None,
        lease_token=None,
        lease_until=None,
        attempt=0,
        claimed_at=None,
        next_try_at=now,
        polls=0,
        next_poll_at=None,
        deadline=now + timedelta(seconds=min(longest, wish.seconds or longest)),
        callback_id=None,
        created_at=now,
        updated_at=now,
        finished_at=None,
    )
