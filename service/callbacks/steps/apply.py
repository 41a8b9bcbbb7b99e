"""What callbacks come to, several at a time: each is judged by what those before it left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from service.callbacks.domain.callback import Callback, Verification
from service.callbacks.domain.verdicts import UNDECIDED, Verdict
from service.callbacks.store.inbox import BatchContext, StoredCallback
from service.kit.errors import CallsheetError
from service.kit.timestamps import EPOCH
from service.provider.domain.report_to_signal import status_update
from service.provider.domain.task_reports import TaskReport
from service.resources import Resources
from service.subjects.domain.subject import Subject
from service.subjects.steps.transition import TransitionResult, decide
from service.subjects.store.events import NewEvent
from service.subjects.store.transitions import Transition


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """What became of a callback."""

    verdict: Verdict
    reason: str | None = None  # why it is this verdict, in words; None: the verdict says it
    outcome: TransitionResult | None = None  # of its news; None: no news of a known subject
    poll: str | None = None  # the subject that the provider is asked about instead; None: none
    refusal: CallsheetError | None = None  # what its sender is told; None: it is accepted


REPEATED = CallbackResult(Verdict.REPEATED)


def _rejected(refusal: CallsheetError) -> CallbackResult:
    return CallbackResult(Verdict.REJECTED, str(refusal), refusal=refusal)


@dataclass(frozen=True, slots=True)
class CallbackBatch:
    """What a batch of callbacks came to."""

    results: list[CallbackResult]  # one for each, in their order
    stored: list[StoredCallback]  # the callbacks to store, copies folded
    transitions: list[Transition]  # one for each subject that moved, however often it did
    to_poll: list[str]  # the subjects that the provider is asked about


def apply_batch(
    resources: Resources,
    locked: Sequence[Subject],
    context: BatchContext,
    callbacks: Sequence[Callback],
) -> CallbackBatch:
    """What these callbacks come to, by the locked subjects and by what is known; nothing is
    written.

    The provider's own time orders them, so that of news which arrives together none is late merely
    for having been overtaken on the way.
    """
    batch = _Batch(resources, locked, context)
    order = sorted(range(len(callbacks)), key=lambda at: callbacks[at].report.updated_at or EPOCH)
    results = [REPEATED] * len(callbacks)
    for at in order:
        results[at] = batch.apply(callbacks[at])
    return CallbackBatch(results, batch.stored(), batch.transitions(), batch.to_poll)


class _Batch:
    """The subjects of one batch, locked, and what is known of their callbacks."""

    def __init__(
        self, resources: Resources, locked: Sequence[Subject], context: BatchContext
    ) -> None:
        self._resources = resources
        self._before = {subject.id: subject for subject in locked}
        self._now = dict(self._before)
        self._owners = {
            subject.provider_task_id: subject.id for subject in locked if subject.provider_task_id
        }
        self._context = context
        self._said = set(context.said)
        self._stored: dict[tuple[str, str], StoredCallback] = {}
        self._new: dict[str, list[NewEvent]] = {}
        self.to_poll: list[str] = []

    def stored(self) -> list[StoredCallback]:
        """The callbacks to store, copies folded; in an order that keeps two batches that share
        some, of no subject, from waiting for each other."""
        return [self._stored[key] for key in sorted(self._stored)]

    def transitions(self) -> list[Transition]:
        """One for each subject that moved, however often it did."""
        return [
            Transition(self._before[id_], self._now[id_], tuple(self._new.get(id_, ())))
            for id_, subject in self._now.items()
            if subject is not self._before[id_]
        ]

    def apply(self, callback: Callback) -> CallbackResult:
        """What one callback comes to, after those before it."""
        callback = self._under_its_own_key(callback)
        key = (callback.raw.source, callback.dedup_key)
        earlier = self._stored.get(key)
        refused = callback.refusal is not None
        if earlier is not None and (refused or earlier.verdict not in UNDECIDED):
            self._stored[key] = replace(
                earlier, times_received=earlier.times_received + callback.times_received
            )
            return REPEATED if callback.refusal is None else _rejected(callback.refusal)
        subject = self._subject(callback)
        decided = key in self._context.digests and key not in self._context.undecided
        result = REPEATED if decided and not refused else self._decide(subject, callback)
        about = subject.id if subject else callback.subject_id
        seen = callback.times_received + (earlier.times_received if earlier else 0)
        self._stored[key] = StoredCallback(callback, about, result.verdict, result.reason, seen)
        if result.outcome is not None:
            self._move(result.outcome)
        if result.poll is not None:
            self.to_poll.append(result.poll)
        return result

    def _under_its_own_key(self, callback: Callback) -> Callback:
        """Other bytes under the id of a message that was kept are another message: what is answered
        with success is kept to the letter."""
        key = (callback.raw.source, callback.dedup_key)
        if key not in self._stored and key not in self._context.digests:
            return callback
        digest = sha256(callback.body).digest()
        stored = self._stored.get(key)
        if stored:
            same = stored.callback.body == callback.body
        else:
            same = self._context.digests[key] == digest
        return callback if same else replace(callback, dedup_key=f"{key[1]}#{digest.hex()}")

    def _subject(self, callback: Callback) -> Subject | None:
        """The subject of the address; else the one named in the body, by our id or by the
        provider's; None if it is not known."""
        if callback.subject_id is not None:
            return self._now.get(callback.subject_id)
        named = self._now.get(callback.report.external_task_id or "")
        return named or self._now.get(self._owners.get(callback.report.provider_task_id, ""))

    def _decide(self, subject: Subject | None, callback: Callback) -> CallbackResult:
        if callback.refusal is not None:
            return _rejected(callback.refusal)
        if subject is None:
            return CallbackResult(Verdict.UNKNOWN, "it names no subject we know")
        mismatch = self._mismatch(subject, callback.report)
        if mismatch is not None:
            return CallbackResult(Verdict.MISMATCH, mismatch)
        if callback.verification is not Verification.SIGNED:
            reason = "not signed: the provider is asked"
            return CallbackResult(Verdict.HINT, reason, poll=subject.id)
        return self._believe(subject, callback)

    def _mismatch(self, subject: Subject, report: TaskReport) -> str | None:
        """What in the body is another's; None if nothing is."""
        if report.external_task_id not in {None, subject.id}:
            return "the body names another subject than the address"
        owner = self._owners.get(report.provider_task_id, subject.id)
        if subject.provider_task_id not in {None, report.provider_task_id} or owner != subject.id:
            return "the body names another provider task than this subject's"
        return None

    def _believe(self, subject: Subject, callback: Callback) -> CallbackResult:
        """What a believed callback comes to. The same words under another message id, at the same
        time of the provider's, are a copy too."""
        news = status_update(callback.report)
        if news is None:
            reason = f"nothing can be made of the status {callback.report.status_word[:50]!r} alone"
            return CallbackResult(Verdict.PARKED, reason, poll=subject.id)
        if callback.task_id and callback.status and callback.provider_updated_at:
            saying = (callback.task_id, callback.status, callback.provider_updated_at)
            if saying in self._said:
                return CallbackResult(Verdict.REPEATED, "another message said the same")
            self._said.add(saying)
        outcome = decide(self._resources, subject, news)
        return CallbackResult(Verdict(outcome.ignored or Verdict.APPLIED), outcome=outcome)

    def _move(self, outcome: TransitionResult) -> None:
        before, after = outcome.before, outcome.after
        if after is before:
            return
        self._now[after.id] = after
        if after.provider_task_id is not None:
            self._owners[after.provider_task_id] = after.id
        self._new.setdefault(after.id, []).extend(outcome.events)
