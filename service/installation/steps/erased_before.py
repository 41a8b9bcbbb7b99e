"""Erases again what had been erased before a database was restored: nobody is told of it but that
it is deleted.

Only what has ended is ever erased. So a subject of which the restored database does not know its
end has ended in the minutes that are lost: the provider is asked how, and where it does not say,
the subject fails. That end and the erasure are one transaction, so that no event of it is seen.
"""

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from service.accounts.domain.actor import Actor
from service.erasure.steps import erase
from service.erasure.steps.erase import Erased
from service.provider.domain.report_to_signal import status_update
from service.provider.remote.outcomes import TaskFound, TaskNotFound
from service.provider.steps import task_list
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import StatusUpdate, Subject
from service.subjects.steps.transition import log_transitions, transition_all_in

ENDS = frozenset({Signal.SUCCEEDED, Signal.FAILED})
UNKNOWN_END = StatusUpdate(
    Signal.FAILED,
    error={
        "code": "end_lost",
        "message": "It had ended, and was erased, before the database was restored to an earlier "
        "moment; how it ended is not known any more.",
    },
)


async def erase_before_telling(
    resources: Resources, subject_ids: Sequence[str], actor: Actor
) -> Erased:
    """Erase these subjects, of any account, also those that are not finished here. Unavailable if
    the provider cannot be asked how one has ended; what was erased by then stays so, and it may be
    run again."""
    erased = await erase.erase_again(resources, subject_ids, actor)
    unfinished, erased.unfinished = erased.unfinished, []
    for subject in unfinished:
        look_up = partial(resources.provider.look_up, subject.provider_task_id or subject.id)
        answer: TaskFound | TaskNotFound = await task_list.ask(resources, look_up)
        erased.add(await _end_and_erase(resources, subject.id, _end(answer), actor))
    return erased


def _end(answer: TaskFound | TaskNotFound) -> StatusUpdate:
    """How the subject has ended, by what the provider answers."""
    update = status_update(answer.report) if isinstance(answer, TaskFound) else None
    if update is None or update.signal not in ENDS:
        return UNKNOWN_END
    return replace(update, provider_task_id=None)  # whose task it is, is not checked here


async def _end_and_erase(
    resources: Resources, subject_id: str, end: StatusUpdate, actor: Actor
) -> Erased:
    def choose(subject: Subject) -> StatusUpdate | None:
        return end if subject.finished_at is None else None

    async with resources.database.transaction() as tx:
        moves = await transition_all_in(resources, tx, [subject_id], choose, SignalSource.OPERATOR)
        erased = await erase.erase_in(tx, resources, [subject_id], actor)
    log_transitions(moves)
    erase.log_erased(erased)
    return erased
