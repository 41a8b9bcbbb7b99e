"""Every subject that is not finished says why it waits: a code, a sentence, and its bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.operations.domain.hold import HoldTarget
from service.status.domain.conditions import Conditions
from service.status.domain.subject_why import subject_why
from service.subjects.domain.lifecycle import TERMINAL, State
from service.subjects.domain.subject import WaitingView
from service.subjects.domain.why import Why, WhyCode
from service.submission.domain.parallel_limit import ParallelLimit
from tests.support.subjects import NOW
from tests.support.waiting_rows import (
    CALM,
    COPY,
    RESTORED,
    conditions,
    hold,
    moment,
    subjects,
    waiting_subject,
)
from tests.support.why_rules import check_why

DEADLINE = moment(86_400)
LATER = moment(60)
HOLD = hold(HoldTarget.SUBMISSIONS, None, moment(-5))
STOPPED = replace(CALM, stopped_code=1102, next_probe_at=LATER)
FULL = replace(CALM, with_provider=10)
WITHOUT_WORKER = replace(CALM, worker_runs=False)


@given(subjects(), conditions, st.none() | st.integers(1, 10_000))
def test_every_subject_that_is_not_finished_has_a_reason(
    subject: WaitingView, shared: Conditions, position: int | None
) -> None:
    why = subject_why(subject, shared, position, NOW)
    if subject.state in TERMINAL:
        assert why is None
        return
    assert why is not None
    check_why(why, NOW)
    if subject.deadline > NOW and why.code not in {WhyCode.NO_WORKER, WhyCode.HELD_COPY}:
        assert why.until is not None
        assert why.until <= subject.deadline


def why_of(
    shared: Conditions = CALM,
    position: int | None = 1,
    **changes: Any,  # noqa: ANN401
) -> Why:
    why = subject_why(waiting_subject(**changes), shared, position, NOW)
    assert why is not None
    return why


# Media that are checked by a worker, wait for one, or are out of reach.
CHECKED = {"media_check_at": moment(30), "media_lease_token": "lse_1"}
UNCHECKED = {"media_check_at": moment(-3)}
OUT_OF_REACH = {"media_check_at": moment(5), "media_check_attempts": 2}
SUBMITTING = {"state": State.SUBMITTING, "claimed_at": moment(-4), "attempts": 1}
ROWS: list[tuple[dict[str, Any], Conditions, WhyCode, str, float, float | None]] = [
    (CHECKED, CALM, WhyCode.MEDIA_CHECK, "A worker is checking its media.", 0, 30),
    (
        UNCHECKED,
        CALM,
        WhyCode.MEDIA_CHECK,
        "Waits for a worker with room to check its media, which are given by URL.",
        -3,
        86_400,
    ),
    (
        UNCHECKED,
        WITHOUT_WORKER,
        WhyCode.NO_WORKER,
        "No worker runs that checks its media.",
        -3,
        None,
    ),
    (
        OUT_OF_REACH,
        CALM,
        WhyCode.MEDIA_RETRY,
        "Its media were out of reach, 2 times: they are fetched again in 5 s.",
        0,
        5,
    ),
    (
        {"available_at": moment(40), "attempts": 1},
        CALM,
        WhyCode.RETRY_AT,
        "It was sent once and not taken: again in 40 s.",
        0,
        40,
    ),
    (
        {"available_at": moment(1)},  # by a clock that is ahead
        CALM,
        WhyCode.RETRY_AT,
        "It may be sent to the provider in 1 s.",
        0,
        1,
    ),
    ({}, CALM, WhyCode.DUE, "In a moment a worker sends it to the provider.", 0, 1),
    (
        {},
        WITHOUT_WORKER,
        WhyCode.NO_WORKER,
        "No worker runs that sends it to the provider.",
        0,
        None,
    ),
    (
        {},
        STOPPED,
        WhyCode.PROVIDER_STOPPED,
        (
            "Submission is stopped by the provider's code 1102; one subject is sent as a probe in "
            "60 s."
        ),
        0,
        60,
    ),
    (
        {},
        replace(STOPPED, next_probe_at=moment(-1)),
        WhyCode.PROVIDER_STOPPED,
        "Submission is stopped by the provider's code 1102; one subject is sent as a probe now.",
        0,
        86_400,
    ),
    (
        {},
        replace(STOPPED, with_provider=10),
        WhyCode.PROVIDER_STOPPED,
        (
            "Submission is stopped by the provider's code 1102; one subject is sent as a probe "
            "once a place is free."
        ),
        0,
        86_400,
    ),
    (
        {},
        replace(CALM, holds=[HOLD], installation=COPY),
        WhyCode.HELD_COPY,
        (
            "This database is a copy, or its address has changed: nothing is sent until an "
            "operator says which."
        ),
        0,
        None,
    ),
    (
        SUBMITTING | {"deadline": moment(-1)},
        replace(CALM, installation=RESTORED),
        WhyCode.HELD_COPY,
        (
            "This database was restored from a backup: nothing is sent until an operator lets it "
            "go on."
        ),
        0,
        None,
    ),
    (
        {},
        replace(CALM, holds=[HOLD]),
        WhyCode.HELD,
        "An operator holds submissions until that is released.",
        0,
        86_400,
    ),
    (
        {},
        replace(CALM, holds=[hold(HoldTarget.SUBMISSIONS, "acc_1", moment(-5), moment(600))]),
        WhyCode.HELD,
        "An operator holds submissions for 10 min more.",
        0,
        600,
    ),
    (
        SUBMITTING | {"lease_until": moment(26)},
        CALM,
        WhyCode.HELD_LEASE,
        "A worker is sending it to the provider: attempt 1.",
        -4,
        26,
    ),
    (
        SUBMITTING | {"lease_until": moment(-1)},
        CALM,
        WhyCode.DUE,
        "In a moment a worker takes it over from one that has gone.",
        -1,
        1,
    ),
    (
        {"state": State.UNCONFIRMED, "next_poll_at": moment(2)},
        CALM,
        WhyCode.UNCONFIRMED_LOOK_UP,
        "After a restore the provider is asked whether it has the subject in 2 s.",
        0,
        2,
    ),
    (
        SUBMITTING | {"state": State.UNCONFIRMED, "next_poll_at": moment(2)},
        CALM,
        WhyCode.UNCONFIRMED_LOOK_UP,
        "The provider's answer was lost: it is asked whether it has the subject in 2 s.",
        0,
        2,
    ),
    (
        {"state": State.PROCESSING, "next_poll_at": moment(9), "updated_at": moment(-90)},
        CALM,
        WhyCode.NEWS_DUE,
        (
            "The provider has it, last heard of 90 s ago and usually done in 5 s: it calls back, "
            "or is asked in 9 s."
        ),
        -90,
        9,
    ),
    (
        {"state": State.SUBMITTED, "next_poll_at": moment(-9)},
        WITHOUT_WORKER,
        WhyCode.NO_WORKER,
        "No worker runs that asks the provider about it.",
        -9,
        None,
    ),
    (
        {"deadline": moment(-2)},
        FULL,
        WhyCode.DEADLINE_PASSED,
        "In a moment a worker ends it, as its deadline has passed.",
        -2,
        1,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[2]}: {row[3]}")
def test_each_reason_has_its_sentence_and_its_bounds(
    row: tuple[dict[str, Any], Conditions, WhyCode, str, float, float | None],
) -> None:
    changes, shared, code, text, since, until = row
    expected = Why(code, text, moment(since), None if until is None else moment(until))
    assert why_of(shared, **changes) == expected


@pytest.mark.parametrize(
    ("shared", "position", "text"),
    [
        (FULL, 38, "10 of 10 in use, 37 before it, about 19 s or more."),
        (FULL, 1000, "10 of 10 in use, 999 before it, about 9 min or more."),
        (FULL, None, "10 of 10 in use."),
        (
            replace(FULL, learnt_limit=ParallelLimit(3, NOW)),
            1,
            "10 in use, 3 allowed, 0 before it, about 2 s or more.",
        ),
    ],
)
def test_a_place_at_the_provider_is_waited_for_with_numbers(
    shared: Conditions, position: int | None, text: str
) -> None:
    why = why_of(shared, position)
    waits = f"Waits for a place at the provider: {text}"
    assert why == Why(WhyCode.PROVIDER_SLOTS, waits, NOW, DEADLINE)


@pytest.mark.parametrize(
    ("position", "code", "text"),
    [
        (2, WhyCode.DUE, "In a moment a worker sends it to the provider."),
        (3, WhyCode.ACCOUNT_TURN, "Accounts take turns, and 2 of its account are before it."),
        (None, WhyCode.ACCOUNT_TURN, "Accounts take turns."),
    ],
)
def test_where_places_are_free_it_is_the_accounts_turn_that_counts(
    position: int | None, code: WhyCode, text: str
) -> None:
    why = why_of(replace(CALM, with_provider=8), position)
    assert (why.code, why.text) == (code, text)


def test_the_holds_of_others_and_those_that_are_over_hold_nothing() -> None:
    holds = [
        hold(HoldTarget.SUBMISSIONS, "acc_2", NOW),
        hold(HoldTarget.DELIVERIES, "acc_1", NOW),
        hold(HoldTarget.SUBMISSIONS, "acc_1", moment(-5), NOW),
    ]
    assert why_of(replace(CALM, holds=holds)).code is WhyCode.DUE


def test_a_deadline_that_is_near_bounds_every_waiting() -> None:
    assert why_of(STOPPED, deadline=moment(5)).until == moment(5)
