"""One transaction of intake: what becomes of requests that keep every rule and came together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from service.core.errors import QUEUE_FULL, CallsheetError, Conflict, TooMany
from service.core.escaping import escaped
from service.core.events import event_of
from service.core.lifecycle import State
from service.core.looks import by_url
from service.core.request_rules import Request
from service.core.subjects import Subject
from service.job_queue import Work
from service.steps.request_callback_urls import ensure_callback_url_subscribers, origin_of
from service.steps.resources import Resources
from service.store import events, idempotency, insert, media, subjects
from service.store.database import Direct
from service.store.events import New
from service.store.idempotency import Bound, Named

KEY_LIFE = timedelta(hours=24)  # of an Idempotency-Key
LIGHT = 256_000  # bytes of a request's media; ours: what has more is written by itself
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
    def keyed(self) -> Named | None:
        return None if self.key is None else (self.account_id, self.key)

    @property
    def name(self) -> tuple[str, str] | None:
        external = self.request.external_task_id
        return None if external is None else (self.account_id, external)

    @property
    def weight(self) -> int:
        """Bytes of its media."""
        return sum(map(len, self.request.inline.values()))


@dataclass(frozen=True, slots=True)
class Accepted:
    """`created` is False where the same request had been accepted before."""

    subject: Subject
    created: bool


Outcome = Accepted | CallsheetError


class Case:
    """One wish, the subject that it would make, and what became of it once that is known."""

    __slots__ = ("outcome", "subject", "wish")

    def __init__(self, resources: Resources, wish: Wish) -> None:
        self.wish = wish
        self.subject = _new(resources, wish, resources.clock())
        self.outcome: Outcome | None = None

    def known(self, earlier: Subject, fingerprint: str, what: str, code: str) -> None:
        """What it is known by stands for this subject, which a request of this fingerprint made."""
        if fingerprint == self.wish.request.fingerprint:
            self.outcome = Accepted(earlier, created=False)
        else:
            self.outcome = Conflict(f"this {what} was used before, with another request", code)

    def named(self, earlier: Subject) -> None:
        """The account has this subject under its external_task_id."""
        if self.wish.new:
            shown = escaped(str(earlier.external_task_id).encode())
            taken = f"external_task_id {shown} already exists"
            self.outcome = Conflict(taken, BY_NAME[1])
        else:
            self.known(earlier, earlier.fingerprint, *BY_NAME)

    def follow(self, leader: "Case") -> bool:
        """What it comes to by its leader of the same key; False if that one was refused."""
        if isinstance(leader.outcome, Accepted):
            self.known(leader.outcome.subject, leader.wish.request.fingerprint, *BY_KEY)
        return self.outcome is not None


async def enter(resources: Resources, cases: Sequence[Case]) -> None:
    """Decide all of these, of which no two have the same key, in one transaction; then wake whom
    it concerns. They are locked in this order: keys, queues, lanes, names, media."""
    now = resources.clock()
    await _keep_heavy(resources, cases, now)
    async with resources.database.direct() as tx:
        free = await _by_key(tx, cases, now)
        await _by_name(tx, _open(cases))
        await _refuse_beyond_room(tx, resources, _open(cases), now)
        await _give_lanes(tx, resources, _open(cases))
        added = await _add(tx, _open(cases))
        deliveries = await _tell(tx, resources, added, now)
        await _bind(tx, free, now)
    for case in added:
        case.outcome = Accepted(case.subject, created=True)
        work = Work.CHECK_MEDIA if by_url(case.subject.document) else Work.SUBMIT
        resources.queue.wake(work)
    if deliveries:
        resources.queue.wake(Work.DELIVER)


async def _keep_heavy(resources: Resources, cases: Sequence[Case], now: datetime) -> None:
    """Large media are written before anything is locked: others would wait for them. Should nobody
    come to need them, they are dropped like those of subjects that have ended."""
    heavy = [case.wish.request.inline for case in cases if case.wish.weight > LIGHT]
    for inline in heavy:
        async with resources.database.direct() as tx:
            await media.keep(tx, inline, now)


def _open(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.outcome is None]


async def _by_key(tx: Direct, cases: Sequence[Case], now: datetime) -> dict[Named, Case]:
    """Answer those whose key is bound; give those whose key is free."""
    keyed = {key: case for case in cases if (key := case.wish.keyed)}
    if not keyed:
        return {}
    await idempotency.lock(tx, list(keyed))
    bound = await idempotency.bound(tx, list(keyed), now - KEY_LIFE)
    earlier = await subjects.all_of(tx, [one.subject_id for one in bound.values()])
    for key, one in bound.items():
        keyed.pop(key).known(earlier[one.subject_id], one.fingerprint, *BY_KEY)
    return keyed


async def _by_name(tx: Direct, cases: Sequence[Case]) -> None:
    """Answer those whose external id the account has already."""
    named = [(case, name) for case in cases if (name := case.wish.name)]
    found = await subjects.named(tx, [name for _, name in named]) if named else {}
    for case, name in named:
        if name in found:
            case.named(found[name])


async def _refuse_beyond_room(
    tx: Direct, resources: Resources, cases: Sequence[Case], now: datetime
) -> None:
    """Several of one name take up one place."""
    wanted: defaultdict[str, dict[object, list[Case]]] = defaultdict(dict)
    for case in cases:
        wanted[case.wish.account_id].setdefault(case.wish.name or case, []).append(case)
    limit = resources.queue_limit
    beyond = [
        case
        for account_id, room in (await limit.available(tx, wanted, now)).items()
        for alike in list(wanted[account_id].values())[max(0, room) :]
        for case in alike
    ]
    await _by_name(tx, beyond)  # whoever filled the queue may have written just these
    for case in _open(beyond):
        message = f"{limit.most} subjects of this account are queued already"
        case.outcome = TooMany(message, QUEUE_FULL, FULL_FOR)


async def _give_lanes(tx: Direct, resources: Resources, cases: Sequence[Case]) -> None:
    """Each callback_url of what is new has one, for all of its origin."""
    wanted = {
        case: (case.wish.account_id, origin_of(url))
        for case in cases
        if (url := case.wish.request.callback_url)
    }
    lanes = await ensure_callback_url_subscribers(tx, resources, sorted(set(wanted.values())))
    for case, origin in wanted.items():
        case.subject = replace(case.subject, callback_id=lanes[origin])


async def _add(tx: Direct, cases: Sequence[Case]) -> list[Case]:
    """Write what is new, and give it. What an equal request wrote in the meantime, or stands twice
    among these, is answered with that."""
    if not cases:
        return []
    new = [case.subject for case in cases]
    ids = await insert.add_subjects(tx, new, {one.id for one in new if by_url(one.document)})
    await _by_name(tx, [case for case in cases if case.subject.id not in ids])
    return [case for case in cases if case.subject.id in ids]


async def _tell(tx: Direct, resources: Resources, added: Sequence[Case], now: datetime) -> int:
    """Keep the media of what was added, and write its events; how many deliveries that made."""
    inline: dict[str, bytes] = {}
    for case in added:
        if case.wish.weight <= LIGHT:
            inline |= case.wish.request.inline
    if inline:
        await media.keep(tx, inline, now)
    if any(case.wish.request.inline for case in added):
        needed = [(case.subject.id, one) for case in added for one in case.wish.request.inline]
        await media.need(tx, needed)
    new = [New(event_of(case.subject), resources.new_id("dlv")) for case in added]
    return await events.append(tx, new) if new else 0


async def _bind(tx: Direct, free: Mapping[Named, Case], now: datetime) -> None:
    """Bind free keys to what their requests made or found; a refused request binds none."""
    given = [
        (key, Bound(subject.fingerprint, subject.id))
        for key, case in free.items()
        if (subject := _found(case)) is not None
    ]
    if given:
        await idempotency.bind(tx, given, now)


def _found(case: Case) -> Subject | None:
    """What it made or found; None if it was refused."""
    if case.outcome is None:
        return case.subject
    return case.outcome.subject if isinstance(case.outcome, Accepted) else None


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
        available_at=now,
        polls=0,
        next_poll_at=None,
        deadline=now + timedelta(seconds=min(longest, wish.seconds or longest)),
        callback_id=None,
        created_at=now,
        updated_at=now,
        finished_at=None,
        warnings=[asdict(one) for one in wish.request.warnings] or None,
    )
