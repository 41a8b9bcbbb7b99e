"""Apply callbacks: find the subject, recognise duplicates, and give each callback its verdict.

Nothing is written here. Each callback of a batch is decided by what those before it left.
"""

from collections.abc import Sequence
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from service.callbacks.domain.callback import Callback, Verification
from service.callbacks.domain.verdicts import UNDECIDED, Verdict
from service.callbacks.store.inbox import BatchContext, CallbackToStore
from service.kit.errors import CallsheetError
from service.kit.timestamps import EPOCH
from service.provider.domain.report_to_signal import status_update
from service.provider.domain.task_reports import TaskReport
from service.resources import Resources
from service.subjects.domain.subject import Subject
from service.subjects.steps.transition import decide
from service.subjects.store.events import NewEvent
from service.subjects.store.transitions import Transition


class CallbackResult(Struct, frozen=True):
    """What became of a callback, for its sender, the database and the log."""

    verdict: Verdict  # as it is stored and answered
    reason: str | None = None  # why it is this verdict, in words; None: the verdict says it
    transition: Transition | None = None  # what the state machine decided; None: not asked
    subject_to_poll: str | None = None  # the id of a subject to ask the provider about; None: none
    refusal: CallsheetError | None = None  # what its sender is answered; None: it is accepted

    @property
    def subject_id(self) -> str | None:
        """The subject that it was about, if the state machine was asked; else None."""
        return None if self.transition is None else self.transition.after.id


REPEATED = CallbackResult(Verdict.REPEATED)


def _rejected(refusal: CallsheetError) -> CallbackResult:
    return CallbackResult(Verdict.REJECTED, str(refusal), refusal=refusal)


class CallbackBatch:
    """Callbacks that are applied together, to subjects as they were read."""

    def __init__(self, resources: Resources, context: BatchContext) -> None:
        self.subjects_to_poll: list[str] = []  # ids of subjects that the provider is asked about
        self._resources = resources
        self._before = {subject.id: subject for subject in context.subjects}
        self._subjects = dict(self._before)  # as the callbacks so far have left them
        self._ids_by_task = {
            subject.provider_task_id: subject.id
            for subject in context.subjects
            if subject.provider_task_id
        }
        self._context = context
        self._reported = set(context.reported)
        self._to_store: dict[tuple[str, str], CallbackToStore] = {}  # by source and dedup key
        self._events: dict[str, list[NewEvent]] = {}  # by subject id

    def apply_all(self, callbacks: Sequence[Callback]) -> list[CallbackResult]:
        """Apply the callbacks; the result of each, in their order.

        They are applied in the order of the provider's own times: of reports that arrive together,
        none is late merely because another one overtook it on the way.
        """
        ordered = sorted(
            enumerate(callbacks), key=lambda numbered: numbered[1].report.updated_at or EPOCH
        )
        results = {index: self._apply(callback) for index, callback in ordered}
        return [results[index] for index in range(len(callbacks))]

    def to_store(self) -> list[CallbackToStore]:
        """The callbacks to store, duplicates folded; ordered by their keys, so that two batches
        with duplicates of the same never wait for each other."""
        return [self._to_store[key] for key in sorted(self._to_store)]

    def transitions(self) -> list[Transition]:
        """The transitions to write: one for each subject that moved, however often it did."""
        return [
            Transition(self._before[id_], subject, events=tuple(self._events.get(id_, ())))
            for id_, subject in self._subjects.items()
            if subject is not self._before[id_]
        ]

    def kept_subjects(self) -> list[str]:
        """The ids of the subjects that these callbacks leave as they are, and whose contents are
        stored with them: none may be erased before that is committed."""
        about = {to_store.subject_id for to_store in self._to_store.values() if not to_store.erased}
        return sorted(id_ for id_, subject in self._before.items() if id_ in about)

    def _apply(self, callback: Callback) -> CallbackResult:
        callback = self._with_distinct_key(callback)
        key = (callback.raw.source, callback.dedup_key)
        earlier = self._to_store.get(key)
        refused = callback.refusal is not None
        times_received = callback.times_received + (earlier.times_received if earlier else 0)
        if earlier is not None and (refused or earlier.verdict not in UNDECIDED):
            self._to_store[key] = replace(earlier, times_received=times_received)
            return REPEATED if callback.refusal is None else _rejected(callback.refusal)
        subject = self._subject(callback)
        decided = key in self._context.digests and key not in self._context.undecided
        result = REPEATED if decided and not refused else self._decide(subject, callback)
        subject_id = subject.id if subject else callback.subject_id
        self._to_store[key] = CallbackToStore(
            callback,
            subject_id,
            result.verdict,
            result.reason,
            times_received,
            self._was_erased(subject, callback),
        )
        if result.transition is not None:
            self._move(result.transition)
        if result.subject_to_poll is not None:
            self.subjects_to_poll.append(result.subject_to_poll)
        return result

    def _with_distinct_key(self, callback: Callback) -> Callback:
        """The callback, under a key of its own if another body came under the same message id: both
        are stored, since every body that is answered with success must be."""
        key = (callback.raw.source, callback.dedup_key)
        if key not in self._to_store and key not in self._context.digests:
            return callback
        digest = sha256(callback.body).digest()
        earlier = self._to_store.get(key)
        if earlier:
            same = earlier.callback.body == callback.body
        else:
            same = self._context.digests[key] == digest
        return callback if same else replace(callback, dedup_key=f"{key[1]}#{digest.hex()}")

    def _subject(self, callback: Callback) -> Subject | None:
        """The subject that the address names; else the one that the body names, by our id or by
        the provider's task id; None if it is not known."""
        if callback.subject_id is not None:
            return self._subjects.get(callback.subject_id)
        report = callback.report
        named = self._subjects.get(report.external_task_id or "")
        return named or self._subjects.get(self._ids_by_task.get(report.provider_task_id, ""))

    def _was_erased(self, subject: Subject | None, callback: Callback) -> bool:
        """Whether a callback is about a subject that was erased, or names its task."""
        named = self._subjects.get(self._ids_by_task.get(callback.task_id or "", ""))
        if subject is not None and subject.erased_at is not None:
            return True
        return named is not None and named.erased_at is not None

    def _decide(self, subject: Subject | None, callback: Callback) -> CallbackResult:
        """The result of a callback that is no duplicate by its key."""
        if callback.refusal is not None:
            return _rejected(callback.refusal)
        if subject is None:
            return CallbackResult(Verdict.UNKNOWN, "it names no subject we know")
        mismatch = self._mismatch(subject, callback.report)
        if mismatch is not None:
            return CallbackResult(Verdict.MISMATCH, mismatch)
        if callback.verification is not Verification.SIGNED:
            reason = "not signed: the provider is asked"
            return CallbackResult(Verdict.HINT, reason, subject_to_poll=subject.id)
        return self._evaluate(subject, callback)

    def _mismatch(self, subject: Subject, report: TaskReport) -> str | None:
        """What in the body belongs to another subject; None if nothing does."""
        if report.external_task_id not in {None, subject.id}:
            return "the body names another subject than the address"
        owner_id = self._ids_by_task.get(report.provider_task_id, subject.id)
        known_task_ids = {None, report.provider_task_id}
        if subject.provider_task_id not in known_task_ids or owner_id != subject.id:
            return "the body names another provider task than this subject's"
        return None

    def _evaluate(self, subject: Subject, callback: Callback) -> CallbackResult:
        """The result of a signed callback. One that reports the same status of the same time as
        another message did is a duplicate too."""
        update = status_update(callback.report)
        if update is None:
            reason = f"nothing can be made of the status {callback.report.status_word[:50]!r} alone"
            return CallbackResult(Verdict.PARKED, reason, subject_to_poll=subject.id)
        if callback.task_id and callback.status and callback.provider_updated_at:
            key = (callback.task_id, callback.status, callback.provider_updated_at)
            if key in self._reported:
                return CallbackResult(Verdict.REPEATED, "another message said the same")
            self._reported.add(key)
        transition = decide(self._resources, subject, update)
        verdict = Verdict(transition.ignored or Verdict.APPLIED)
        return CallbackResult(verdict, transition=transition)

    def _move(self, transition: Transition) -> None:
        before, after = transition.before, transition.after
        if after is before:
            return
        self._subjects[after.id] = after
        if after.provider_task_id is not None:
            self._ids_by_task[after.provider_task_id] = after.id
        self._events.setdefault(after.id, []).extend(transition.events)
