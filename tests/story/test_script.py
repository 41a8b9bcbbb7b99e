"""What the provider did in a story, as the simulator's steps."""

from typing import Any

import orjson
import pytest

from service.kit.errors import Invalid
from service.local.playback import settings
from service.story.domain.script import MAX_WAIT, Step, script_of
from service.story.domain.story_file import MAX_FILE, read_story

BEGAN = "2026-11-22T12:00:00Z"


def at(seconds: int) -> str:
    return f"2026-11-22T{12 + seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


def story(*signals: dict[str, Any], moves: Any = ()) -> bytes:  # noqa: ANN401
    """A story with these signals, one a second."""
    subject = {"reference_type": "image_refer", "created_at": BEGAN, "attempts": 1, "media": []}
    listed = [{"at": at(second), **signal} for second, signal in enumerate(signals, 1)]
    return orjson.dumps({"format": 1, "subject": subject, "moves": moves, "signals": listed})


def steps(*signals: dict[str, Any], moves: Any = ()) -> list[Step]:  # noqa: ANN401
    return list(script_of(read_story(story(*signals, moves=moves))).steps)


LOST = {"source": "submit", "outcome": "outcome_unknown", "signal": "lost"}
NOT_FOUND = {"source": "poll", "outcome": "task_not_found", "signal": "absent"}
ACCEPTED = {"source": "submit", "outcome": "task_accepted", "status": "submitted"}
FOUND = {"source": "poll", "outcome": "task_found", "status": "processing"}
CALLED_BACK = {"source": "callback", "verdict": "applied", "status": "submitted"}


def test_a_lost_create_was_accepted_if_the_task_was_found_later() -> None:
    assert [step.accepts for step in steps(LOST, FOUND)] == [True, False]
    assert [step.accepts for step in steps(LOST, NOT_FOUND)] == [False, False]


def test_a_callback_that_overtakes_a_second_create_is_not_of_the_first() -> None:
    made = steps(LOST, NOT_FOUND, CALLED_BACK, ACCEPTED)
    creates = [step.accepts for step in made if step.kind == "create"]
    assert creates == [False, True]


def test_a_create_that_was_put_off_was_not_accepted() -> None:
    later = {"source": "submit", "outcome": "retry_later", "code": 1303}
    first, *_ = steps(later, CALLED_BACK, ACCEPTED)
    assert (first.answer, first.code, first.accepts) == ("refusal", 1303, False)


def test_an_answer_that_was_not_kept_yet_is_given_behind_all_else() -> None:
    later = {"source": "submit", "outcome": "retry_later", "code": 1303}
    made = steps(later, CALLED_BACK)
    assert [step.kind for step in made] == ["create", "callback", "create"]
    assert [step.accepts for step in made if step.kind == "create"] == [False, True]


def test_a_late_callback_stands_behind_what_it_was_late_for() -> None:
    early = CALLED_BACK | {"verdict": "late", "status": "processing"}
    end = {"source": "callback", "verdict": "applied", "status": "succeed"}
    moves = [
        {"before": "submitting", "after": "submitted", "signal": "submitted", "at": at(1)},
        {"before": "submitted", "after": "succeeded", "signal": "succeeded", "at": at(9)},
    ]
    assert [step.status for step in steps(ACCEPTED, early, end, moves=moves)] == [
        "submitted",
        "succeed",
        "processing",
    ]


def test_long_waits_are_shortened() -> None:
    late = CALLED_BACK | {"at": at(7200)}
    assert [step.wait for step in steps(ACCEPTED, late)] == [0.0, MAX_WAIT]


def test_what_the_clock_and_callers_did_is_no_step_of_the_provider() -> None:
    assert steps({"source": "cancel", "signal": "cancel"}, {"left_out": 7}) == []


def test_callbacks_that_were_not_believed_are_not_signed_when_they_are_played() -> None:
    hint = CALLED_BACK | {"verdict": "hint", "verification": "none"}
    played = read_story(story(ACCEPTED, hint, FOUND))
    script = script_of(played)
    assert [step.sign for step in script.steps] == ["signed", "unsigned", "signed"]
    assert settings(played)["WEBHOOK_SECRETS"] == ""


def test_what_ended_in_the_queue_is_held_there() -> None:
    cancel = {"before": "queued", "after": "canceled", "signal": "cancel", "at": at(9)}
    later = {"source": "submit", "outcome": "retry_later", "code": 1303}
    script = script_of(read_story(story(later, moves=[cancel])))
    assert (script.hold_after, script.cancels) == (1, True)


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"", "the story's $: Input data was truncated"),
        (b"[]", "the story's $: Expected `object`, got `array`"),
        (b"{}", "the story's $: Object missing required field `format`"),
        (b'{"format": 2}', "the story's $.format: Invalid enum value 2"),
        (story({"status": "x" * 65}), "the story's $.signals[0].status: Expected `str` of len"),
        (story(*[{}] * 1001), "the story's $.signals: Expected `array` of length <= 1000"),
        (story(moves=[{"before": "a"}]), "the story's $.moves[0].before: Invalid enum value 'a'"),
        (story({"at": "2026-11-22"}), "the story's $.signals[0].at: Invalid RFC3339"),
        (
            story(moves=[{"before": "submitting", "after": "submitted", "signal": None}]),
            "the story's $.moves: what led to them was pruned or erased",
        ),
        (b"[" * 100_000, "the story's $: "),
        (b" " * (MAX_FILE + 1), "the story has more than 20000000 bytes"),
    ],
)
def test_what_is_no_story_is_refused_by_member_and_rule(raw: bytes, rule: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_story(raw)
    assert refused.value.errors[0].message.startswith(rule)
