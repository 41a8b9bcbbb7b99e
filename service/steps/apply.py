"""What callbacks come to, several at a time: each is judged by what those before it left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from service.core.errors import CallsheetError
from service.core.lifecycle import Stay
from service.core.news import news_of
from service.core.subjects import Subject
from service.core.task_reports import Report
from service.core.timestamps import EPOCH
from service.steps.advance import Outcome, consider, events_for
from service.steps.resources import Resources
from service.steps.verify import Incoming
from service.store.events import New
from service.store.inbox import OPEN, Kept, Known
from service.store.moves import Move


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a callback: `outcome` is set if it was news of a known subject, `ask` names
    the subject that the provider is asked about instead of believing it, `refusal` is what the
    sender is told."""

    verdict: str
    reason: str | None = None
    outcome: Outcome | None = None
    ask: str | None = None
    refusal: CallsheetError | None = None


REPEATED = Taken(Stay.REPEATED.value)


def _rejected(refusal: CallsheetError) -> Taken:
    return Taken("rejected", str(refusal), refusal=refusal)


class Docket:
    """The subjects of one batch, locked, and what is known of their callbacks."""

    def __init__(self, resources: Resources, locked: Sequence[Subject], known: Known) -> None:
        self._resources = resources
        self._before = {subject.id: subject for subject in locked}
        self._now = dict(self._before)
        self._owners = {
            subject.provider_task_id: subject.id for subject in locked if subject.provider_task_id
        }
        self._known = known
        self._said = set(known.said)
        self._kept: dict[tuple[str, str], Kept] = {}
        self._new: dict[str, list[New]] = {}
        self.to_ask: list[str] = []

    @property
    def kept(self) -> list[Kept]:
        """The callbacks to keep, copies folded; in an order that keeps two batches that share
        some, of no subject, from waiting for each other."""
        return [self._kept[key] for key in sorted(self._kept)]

    def moves(self) -> list[Move]:
        """One for each subject that moved, however often it did."""
        return [
            Move(self._before[id_], self._now[id_], tuple(self._new.get(id_, ())))
            for id_, subject in self._now.items()
            if subject is not self._before[id_]
        ]

    def judge_all(self, incoming: Sequence[Incoming]) -> list[Taken]:
        """A verdict for each. The provider's own time orders them, so that of news which arrives
        together none is late merely for having been overtaken on the way."""
        order = sorted(range(len(incoming)), key=lambda at: incoming[at].report.updated_at or EPOCH)
        taken = [REPEATED] * len(incoming)
        for at in order:
            taken[at] = self._take(incoming[at])
        return taken

    def _take(self, one: Incoming) -> Taken:
        one = self._under_its_own_key(one)
        key = (one.callback.source, one.callback.dedup_key)
        earlier = self._kept.get(key)
        if earlier is not None and (one.refusal is not None or earlier.verdict not in OPEN):
            self._kept[key] = replace(earlier, seen=earlier.seen + one.seen)
            return REPEATED if one.refusal is None else _rejected(one.refusal)
        subject = self._subject(one)
        decided = key in self._known.keys and key not in self._known.open
        repeated = decided and one.refusal is None
        taken = REPEATED if repeated else self._judge(subject, one)
        about = subject.id if subject else one.callback.subject_id
        seen = one.seen + (earlier.seen if earlier else 0)
        self._kept[key] = Kept(one.callback, about, taken.verdict, taken.reason, seen)
        if taken.outcome is not None:
            self._move(taken.outcome)
        if taken.ask is not None:
            self.to_ask.append(taken.ask)
        return taken

    def _under_its_own_key(self, one: Incoming) -> Incoming:
        """Other bytes under the id of a message that was kept are another message: what is answered
        with success is kept to the letter."""
        callback = one.callback
        key = (callback.source, callback.dedup_key)
        if key not in self._kept and key not in self._known.keys:
            return one
        digest = sha256(callback.body).digest()
        kept = self._kept.get(key)
        same = kept.callback.body == callback.body if kept else self._known.keys[key] == digest
        if same:
            return one
        return replace(one, callback=replace(callback, dedup_key=f"{key[1]}#{digest.hex()}"))

    def _subject(self, one: Incoming) -> Subject | None:
        """That of the address; else the one named in the body, by our id or by the provider's."""
        if one.callback.subject_id is not None:
            return self._now.get(one.callback.subject_id)
        named = self._now.get(one.report.external_task_id or "")
        return named or self._now.get(self._owners.get(one.report.provider_task_id, ""))

    def _judge(self, subject: Subject | None, one: Incoming) -> Taken:
        if one.refusal is not None:
            return _rejected(one.refusal)
        if subject is None:
            return Taken("unknown", "it names no subject we know")
        mismatch = self._mismatch(subject, one.report)
        if mismatch is not None:
            return Taken("mismatch", mismatch)
        if not one.signed:
            return Taken("hint", "not signed: the provider is asked", ask=subject.id)
        return self._hear(subject, one)

    def _mismatch(self, subject: Subject, report: Report) -> str | None:
        """What in the body is another's."""
        if report.external_task_id not in {None, subject.id}:
            return "the body names another subject than the address"
        owner = self._owners.get(report.provider_task_id, subject.id)
        if subject.provider_task_id not in {None, report.provider_task_id} or owner != subject.id:
            return "the body names another provider task than this subject's"
        return None

    def _hear(self, subject: Subject, one: Incoming) -> Taken:
        """What a believed callback comes to. The same words under another message id, at the same
        time of the provider's, are a copy too."""
        news = news_of(one.report)
        if news is None:
            reason = f"nothing can be made of the status {one.report.word[:50]!r} alone"
            return Taken("parked", reason, ask=subject.id)
        callback = one.callback
        if callback.task_id and callback.status and callback.provider_updated_at:
            saying = (callback.task_id, callback.status, callback.provider_updated_at)
            if saying in self._said:
                return Taken(Stay.REPEATED.value, "another message said the same")
            self._said.add(saying)
        outcome = consider(self._resources, subject, news)
        return Taken(outcome.verdict, outcome=outcome)

    def _move(self, outcome: Outcome) -> None:
        before, after = outcome.before, outcome.after
        if after is before:
            return
        self._now[after.id] = after
        if after.provider_task_id is not None:
            self._owners[after.provider_task_id] = after.id
        self._new.setdefault(after.id, []).extend(events_for(self._resources, outcome))
