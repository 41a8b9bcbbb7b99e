"""The metrics of transitions: what was moved, what was ignored, and how long subjects waited.

Whoever calls these has committed what is counted, and calls once for it. Every pair of labels that
there can be is shown from the start, with 0: an alert sees the first of its kind then.
"""

from collections.abc import Iterable
from typing import Final

from service.kit.timestamps import seconds_between
from service.metrics import (
    LEASES_EXPIRED,
    PROVIDER_TIME,
    SIGNALS_IGNORED,
    SUBJECT_TRANSITIONS,
    SUBMIT_WAIT,
)
from service.subjects.domain.lifecycle import TABLE, Ignored, State
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.subject import Subject
from service.subjects.store.transitions import Transition

NO_STATE: Final = "none"  # the label `from` of a subject that is accepted

_ACCEPTED = SUBJECT_TRANSITIONS.labels(NO_STATE, State.QUEUED)
_CLAIMED = SUBJECT_TRANSITIONS.labels(State.QUEUED, State.SUBMITTING)
for _before, _decisions in TABLE.items():
    for _after in _decisions.values():
        if isinstance(_after, State):
            SUBJECT_TRANSITIONS.labels(_before, _after)
for _source in SignalSource:
    for _reason in Ignored:
        SIGNALS_IGNORED.labels(_source, _reason)


def count_accepted(number: int) -> None:
    """Count so many new subjects, which are queued."""
    _ACCEPTED.inc(number)


def count_claimed(number: int) -> None:
    """Count so many subjects that were claimed out of the queue."""
    _CLAIMED.inc(number)


def count_transitions(transitions: Iterable[Transition], source: SignalSource) -> None:
    """Count what became of signals of this source: moves, and what was ignored. The clock leaves
    unconfirmed those whose lease was over."""
    for transition in transitions:
        before, after = transition.before, transition.after
        if transition.ignored is not None:
            SIGNALS_IGNORED.labels(source, transition.ignored).inc()
            continue
        SUBJECT_TRANSITIONS.labels(before.state, after.state).inc()
        _observe_times(before, after)
        if source is SignalSource.CLOCK and after.state is State.UNCONFIRMED:
            LEASES_EXPIRED.inc()


def _observe_times(before: Subject, after: Subject) -> None:
    """Observe how long a subject waited for the provider, when its task's id is known first; and
    how long the provider took, once a subject that has a task ends."""
    if after.provider_task_id is None:
        return
    if before.provider_task_id is None:
        SUBMIT_WAIT.observe(seconds_between(after.created_at, after.updated_at))
    if after.finished_at is not None and after.claimed_at is not None:
        PROVIDER_TIME.observe(seconds_between(after.claimed_at, after.finished_at))
